-- How many rows fail an expectation, and the first few of them as text.
WITH failing AS MATERIALIZED (SELECT DISTINCT row_id::tid AS address FROM ({failing}) AS f)
SELECT (SELECT count(*) FROM failing) AS rows,
       ARRAY(SELECT concat_ws(' ', s.symbol, s.{series}, s.time,
                              (SELECT string_agg(c || '=' || coalesce(to_jsonb(s) ->> c, 'null'), ' ')
                               FROM unnest({columns}::text[]) AS c WHERE c NOT IN ('symbol', {series_name}, 'time')))
             FROM {staging} s WHERE s.ctid = ANY (ARRAY(SELECT address FROM failing ORDER BY address LIMIT {limit}))
             ORDER BY s.ctid) AS sample
