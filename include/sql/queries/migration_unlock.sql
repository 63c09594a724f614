-- Let the next migrator in.
SELECT pg_advisory_unlock(hashtextextended('perpflow migrations', 0))
