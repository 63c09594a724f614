-- What the gate has withheld in the last day and nobody has reviewed; what is released and not published since an hour, for
-- which nobody may be at work any more; and which archive files had to be left out in the last day.
SELECT q.withheld, q.batches, q.datasets, r.unsettled, o.objects
FROM (SELECT count(DISTINCT (dataset, symbol, series, time, row_hash)) AS withheld, count(DISTINCT batch) AS batches, coalesce(array_agg(DISTINCT dataset), ARRAY[]::text[]) AS datasets
      FROM quarantine WHERE quarantined_at > now() - interval '1 day' AND decision IS NULL AND reviewed_at IS NULL) q
CROSS JOIN (SELECT count(DISTINCT (dataset, symbol, series, time, row_hash)) AS unsettled FROM quarantine
            WHERE decision = 'released' AND settled_at IS NULL AND reviewed_at < now() - interval '1 hour') r
CROSS JOIN (SELECT count(*) AS objects FROM archive_objects WHERE verdict NOT IN ('ok', 'accepted') AND read_at > now() - interval '1 day') o
