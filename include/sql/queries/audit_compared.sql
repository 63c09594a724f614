-- A column of a coarser candle beside what the finer ones say of it.
({title}, p.{column}::double precision, u.{column}::double precision, {tolerance}::double precision)
