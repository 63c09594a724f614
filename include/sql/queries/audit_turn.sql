-- One audit at a time: a second one would look at the same rows, and one of the two in vain.
SELECT pg_advisory_lock(hashtextextended('perpflow audit', 0))
