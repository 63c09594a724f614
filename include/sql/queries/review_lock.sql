-- The rows that a decision is about, held until it is recorded; of what filters find, what is still to be done. `lacking`
-- are the columns that the fact table demands and the row does not have.
SELECT q.id, q.dataset, q.symbol, q.series,
       CASE WHEN q.time >= '0001-01-02Z' AND q.time < '9999-12-31Z' THEN q.time END AS time,
       q.expectation, q.decision, q.reviewed_at, q.note, q.decided_by, q.review, q.settled_at,
       q.row ? 'frame' AND q.time IS NULL AS is_frame,
       ARRAY(SELECT a.attname::text FROM pg_attribute a
             WHERE a.attrelid = quote_ident(q.dataset)::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attnotnull
               AND a.attname NOT IN ('first_seen_at', 'ingested_at') AND q.row ->> a.attname IS NULL
             ORDER BY a.attnum) AS lacking
FROM quarantine q
WHERE {matches} AND (%(ids)s::bigint[] IS NOT NULL OR q.decision IS NULL
                     OR (q.decision = 'released' AND q.settled_at IS NULL))
ORDER BY q.id
FOR UPDATE OF q
