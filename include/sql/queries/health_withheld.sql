-- What the gate has withheld and nobody has reviewed, how much of it in the last day; what is released and not published since
-- an hour, for which nobody may be at work any more; and which archive files had to be left out in the last day.
SELECT q.withheld, q.lately, q.batches, q.datasets, r.unsettled, o.objects
FROM (SELECT count(*) AS withheld, count(DISTINCT batch) AS batches,
             count(*) FILTER (WHERE quarantined_at > now() - interval '1 day') AS lately,
             coalesce(array_agg(DISTINCT dataset), ARRAY[]::text[]) AS datasets
      FROM quarantine WHERE decision IS NULL AND reviewed_at IS NULL) q
CROSS JOIN (SELECT count(*) AS unsettled FROM quarantine
            WHERE decision = 'released' AND settled_at IS NULL AND reviewed_at < now() - interval '1 hour') r
CROSS JOIN (SELECT count(*) AS objects FROM archive_objects WHERE verdict NOT IN ('ok', 'accepted') AND read_at > now() - interval '1 day') o
