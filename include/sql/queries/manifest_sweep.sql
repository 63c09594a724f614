-- Forget batches that nobody has taken further for a day; the ledger still shows their windows as gaps.
DELETE FROM staging.manifests WHERE claimed_at < now() - interval '1 day'
