-- Keep what this source has given before and gives otherwise now, old and new. What a better source overwrites is no
-- correction: it was right for what it was.
INSERT INTO corrections (dataset, symbol, series, time, old_row, new_row, batch, source, origin)
SELECT %(dataset)s, t.symbol, {series}, t.time, jsonb_build_object({old}), jsonb_build_object({new}), %(batch)s, %(source)s,
       (%(origins)s::text[])[s.origin + 1]
FROM ({staged}) s
JOIN {target} t ON {same_key} AND t.time >= %(start)s AND t.time < %(end)s AND t.symbol = ANY (%(symbols)s)
WHERE t.source = %(source)s AND ({differs})
