-- What a coarser candle adds up.
, sum(t.{column}) AS {column}
