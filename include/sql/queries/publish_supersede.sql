-- What waits of earlier batches, and whose keys this one publishes from the same source or a better one: the source has
-- mended it. What is withheld after a good row had come stays for a person: a better source settles it only by what it writes
-- now. Of an array the planner expects ten rows: of the one that it may expect of the table it would look through all of a
-- batch for each.
UPDATE quarantine q
SET decision = 'superseded', decided_by = 'publishing', note = 'a row of its key was published by ' || %(batch)s,
    reviewed_at = now(), settled_at = now()
FROM unnest(ARRAY(SELECT w FROM quarantine w
                  WHERE decision IS NULL AND reviewed_at IS NULL AND dataset = %(dataset)s
                    AND time >= %(start)s AND time < %(end)s AND symbol = ANY (%(symbols)s)
                    -- What was staged before may be what the source has taken back.
                    AND quarantined_at < (SELECT claimed_at FROM staging.manifests WHERE stage_id = %(stage_id)s))) AS w
WHERE q.id = w.id
  AND EXISTS (SELECT FROM {staging} s
              WHERE s.stage_id = %(stage_id)s AND s.withheld IS NULL AND s.symbol = w.symbol
                -- One row may hold all of a dataset's series, or some of them.
                AND s.{series} IN (w.series, %(whole)s)
                AND NOT EXISTS (SELECT FROM unnest(%(parts)s::text[]) AS v WHERE w.row ->> v IS NOT NULL AND to_jsonb(s) ->> v IS NULL)
                AND s.time = w.time
                AND (s.source = w.source
                     OR (source_rank(s.source) > source_rank(w.source)
                         AND EXISTS (SELECT FROM {target} t
                                     WHERE t.symbol = w.symbol AND {in_series} AND t.time = w.time AND t.ingested_at = now()))))
