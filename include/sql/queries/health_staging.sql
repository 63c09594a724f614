-- Batches that were begun hours ago and never published; they are forgotten after a day, and planned anew.
SELECT count(*) AS batches FROM staging.manifests WHERE claimed_at < now() - interval '6 hours'
