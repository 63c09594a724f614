-- Batches that were begun so long ago and never published; they are forgotten after a day, and planned anew.
SELECT count(*) AS batches, coalesce(now() - min(claimed_at), interval '0') AS oldest
FROM staging.manifests WHERE claimed_at < now() - %(since)s
