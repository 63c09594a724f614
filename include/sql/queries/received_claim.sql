-- Entries become a batch's: those that nobody holds, and those whose holder is taken for dead and is none of ours.
UPDATE staging.received SET batch = %(batch)s, claimed_at = now()
WHERE id IN (SELECT id FROM staging.received
             WHERE batch IS NULL
                OR (claimed_at <= now() - %(reclaim_after_s)s * interval '1 second' AND batch <> ALL (%(ours)s))
             ORDER BY id LIMIT %(most)s FOR UPDATE SKIP LOCKED)
