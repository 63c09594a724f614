-- No decision while a batch is published: what it publishes must not be rejected meanwhile. Batches don't wait for each other.
SELECT pg_advisory_xact_lock_shared(hashtextextended('perpflow: review of the quarantine', 0))
