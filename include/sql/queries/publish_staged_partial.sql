-- Staged rows that give some of the columns each (one endpoint per ratio), united to one per key.
SELECT {key}, {united}, max(origin) AS origin FROM {staging}
WHERE stage_id = %(stage_id)s AND source = {source} AND withheld IS NULL AND time >= %(start)s AND time < %(end)s
GROUP BY {key}
