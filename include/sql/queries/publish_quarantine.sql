-- Withheld rows, whole, once for each expectation that they fail. Loading the same rows again adds nothing; one that a later row
-- had superseded waits again, for the source has taken that back. Rows without an instant may be there twice, value for value.
INSERT INTO quarantine AS q (batch, dataset, symbol, series, time, expectation, "column", value, reason, source, origin, row, row_hash)
SELECT DISTINCT ON (s.symbol, s.{series}, s.time, f.expectation, h.row_hash)
       %(batch)s, %(dataset)s, s.symbol, s.{series}, s.time, f.expectation, f.columns,
       (SELECT string_agg(to_jsonb(s) ->> c, ', ') FROM unnest(string_to_array(f.columns, ', ')) AS c),
       f.reason, s.source, (%(origins)s::text[])[s.origin + 1],
       to_jsonb(s) - '{{stage_id,origin,withheld,blank}}'::text[], h.row_hash
FROM {staging} s CROSS JOIN LATERAL unnest(s.withheld) AS w (expectation)
CROSS JOIN LATERAL hash_record_extended(ROW (s.source, s.time, {values}), 0) AS h (row_hash)
JOIN jsonb_to_recordset(%(findings)s) AS f (expectation text, columns text, reason text) USING (expectation)
WHERE s.stage_id = %(stage_id)s
ON CONFLICT (dataset, symbol, series, time, expectation, row_hash) DO UPDATE
-- Under a new number: whoever looked at what waited before has not seen it.
SET id = DEFAULT, decision = NULL, decided_by = NULL, note = NULL, reviewed_at = NULL, settled_at = NULL,
    batch = EXCLUDED.batch, origin = EXCLUDED.origin, "column" = EXCLUDED."column", value = EXCLUDED.value,
    reason = EXCLUDED.reason, quarantined_at = now()
WHERE q.decision = 'superseded'
