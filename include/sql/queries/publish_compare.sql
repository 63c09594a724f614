-- What publishing one source's staged rows would change: keys that the target lacks, and keys that it has with other values.
SELECT count(*) FILTER (WHERE t.symbol IS NULL) AS new,
       count(*) FILTER (WHERE t.symbol IS NOT NULL AND ROW ({target_values}) IS DISTINCT FROM ROW ({merged})) AS changed
FROM ({staged}) s
LEFT JOIN {target} t ON {same_key} AND t.time >= %(start)s AND t.time < %(end)s AND t.symbol = ANY (%(symbols)s)
