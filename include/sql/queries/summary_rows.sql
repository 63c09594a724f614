-- How many rows one series has in a window, how many of them in what the ledger calls present, from which sources, and
-- the first and last of them.
SELECT min(time) AS first, max(time) AS last, count(*) AS rows,
       count(*) FILTER (WHERE time <@ %(present)s::tstzmultirange) AS held,
       count(*) FILTER (WHERE source = 'archive') AS archive, count(*) FILTER (WHERE source = 'rest') AS rest
FROM {table}
WHERE symbol = %(symbol)s AND {series} = %(series)s AND {value} IS NOT NULL AND time >= %(start)s AND time < %(end)s
