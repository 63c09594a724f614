({title}, a.{column}::double precision, r.{column}::double precision, {tolerance})
