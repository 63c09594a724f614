-- One migrator at a time.
SELECT pg_advisory_lock(hashtextextended('perpflow migrations', 0))
