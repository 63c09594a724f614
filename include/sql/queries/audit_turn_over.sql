-- Let the next audit look; the end of a session does the same.
SELECT pg_advisory_unlock(hashtextextended('perpflow audit', 0))
