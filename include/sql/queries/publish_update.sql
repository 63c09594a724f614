-- Update what the target has with other values. Unchanged rows are never touched, which would write WAL for nothing.
UPDATE {target} t
SET ({values}, source, ingested_at)
    = ROW ({merged}, CASE WHEN source_rank(%(source)s) > source_rank(t.source) THEN %(source)s ELSE t.source END, now())
FROM ({staged}) s
WHERE {same_key} AND t.time >= %(start)s AND t.time < %(end)s AND t.symbol = ANY (%(symbols)s)
  AND ROW ({target_values}) IS DISTINCT FROM ROW ({merged})
