-- How many rows of each source are staged, and how many of them the gate withheld.
SELECT source, count(*) AS rows, count(withheld) AS withheld FROM {staging} WHERE stage_id = %(stage_id)s GROUP BY source
