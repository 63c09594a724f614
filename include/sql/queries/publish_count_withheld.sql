-- How many staged rows the gate withheld, and from which sources rows came at all.
SELECT count(*) FILTER (WHERE withheld IS NOT NULL) AS withheld, coalesce(array_agg(DISTINCT source), '{{}}') AS sources
FROM {staging} WHERE stage_id = %(stage_id)s
