-- Archive files that the loads of a day have read for the last time: those that were left out, and those of which rows
-- of more than one issue were read, the latest first.
SELECT key, verdict, detail, attempts, mixed, last_modified, read_at, count(*) OVER () AS of
FROM archive_objects
WHERE (verdict <> 'ok' OR mixed) AND read_at >= %(start)s AND read_at < %(end)s
ORDER BY read_at DESC, key
LIMIT %(most)s
