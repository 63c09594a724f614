-- The first of the chosen entries that stand in the way of a decision, and how many do. `lacking` is what the fact table demands
-- of a row and the row does not have.
SELECT q.id, q.decision, q.expectation, q.note, q.decided_by, q.reviewed_at, count(*) OVER () AS of_all,
       ARRAY(SELECT n FROM unnest(d.demanded) WITH ORDINALITY AS u (n, place) WHERE q.row ->> n IS NULL ORDER BY place) AS lacking
FROM review_chosen c JOIN quarantine q USING (id)
JOIN (SELECT dataset, ARRAY(SELECT a.attname::text FROM pg_attribute a
                            WHERE a.attrelid = quote_ident(dataset)::regclass AND a.attnum > 0 AND NOT a.attisdropped
                              AND a.attnotnull AND a.attname NOT IN ('first_seen_at', 'ingested_at')
                            ORDER BY a.attnum) AS demanded
      FROM (SELECT DISTINCT dataset FROM review_chosen) AS u) d ON d.dataset = q.dataset
WHERE {faulty}
ORDER BY q.id
LIMIT %(most)s
