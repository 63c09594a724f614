-- How many of one source's staged keys the target has already, and how many of them with other values. Where it has none
-- the join ends at once.
SELECT count(*) AS there,
       count(*) FILTER (WHERE ROW ({target_values}) IS DISTINCT FROM ROW ({merged})) AS changed
FROM ({staged}) s
JOIN {target} t ON {same_key} AND t.time >= %(start)s AND t.time < %(end)s AND t.symbol = ANY (%(symbols)s)
