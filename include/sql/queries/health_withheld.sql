-- What the gate has withheld in the last day and nobody has reviewed, and which archive files had to be left out.
SELECT q.withheld, q.batches, q.datasets, o.objects
FROM (SELECT count(*) AS withheld, count(DISTINCT batch) AS batches, coalesce(array_agg(DISTINCT dataset), ARRAY[]::text[]) AS datasets
      FROM quarantine WHERE quarantined_at > now() - interval '1 day' AND reviewed_at IS NULL) q
CROSS JOIN (SELECT count(*) AS objects FROM archive_objects WHERE verdict NOT IN ('ok', 'accepted') AND read_at > now() - interval '1 day') o
