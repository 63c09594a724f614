-- Forget batches that nobody has taken further for a day; the ledger still shows their windows as gaps. And attempts at what
-- is published: one that begins just then waits for the manifest that the publisher holds, and claims the batch anew.
DELETE FROM staging.manifests m
WHERE claimed_at < now() - interval '1 day' OR EXISTS (SELECT FROM data_versions v WHERE v.batch = m.batch)
