-- One decision at a time: two people may release rows that exclude one another.
SELECT pg_advisory_xact_lock(hashtextextended('perpflow: review of the quarantine', 0))
