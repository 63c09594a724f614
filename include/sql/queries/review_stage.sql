-- Stage released rows as they came, each once, whatever it failed. What a stream told of a contract that nobody knew then
-- goes by the name that the table symbols has for it now.
INSERT INTO {staging} (stage_id, origin, symbol, {columns})
SELECT %(stage_id)s, array_position(%(origins)s::text[], q.origin) - 1,
       coalesce((SELECT s.symbol FROM symbols s WHERE %(is_streamed)s AND s.exchange_symbol = q.row ->> 'exchange_symbol'),
                q.symbol),
       {values}
FROM (SELECT DISTINCT ON (symbol, series, time, row_hash) symbol, origin, row FROM quarantine
      WHERE review = %(review)s AND dataset = %(dataset)s AND decision = 'released' AND time >= %(start)s AND time < %(end)s
      ORDER BY symbol, series, time, row_hash, id) q
CROSS JOIN LATERAL jsonb_populate_record(NULL::{staging}, q.row) r
