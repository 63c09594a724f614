-- The published rows just before an instant, at it and just after it, of one series.
(SELECT 'before' AS place, t.time, to_jsonb(t) AS row FROM {target} t
 WHERE t.symbol = %(symbol)s AND {in_series} AND t.time < %(time)s ORDER BY t.time DESC LIMIT 1)
UNION ALL
(SELECT 'published', t.time, to_jsonb(t) FROM {target} t
 WHERE t.symbol = %(symbol)s AND {in_series} AND t.time = %(time)s LIMIT %(most)s)
UNION ALL
(SELECT 'after', t.time, to_jsonb(t) FROM {target} t
 WHERE t.symbol = %(symbol)s AND {in_series} AND t.time > %(time)s ORDER BY t.time LIMIT 1)
