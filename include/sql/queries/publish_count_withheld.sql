-- How many rows are staged, how many of them the gate withheld, and from which sources they came.
SELECT count(*) AS staged, count(*) FILTER (WHERE withheld IS NOT NULL) AS withheld,
       coalesce(array_agg(DISTINCT source), '{{}}') AS sources
FROM {staging} WHERE stage_id = %(stage_id)s
