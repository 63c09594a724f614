-- Which of the listed files are not what was read: by ETag where both have one, else by Last-Modified, which headers give to
-- the second; and those of which parts of several issues were read. One that was left out is tried again for a while, and
-- whenever the checksum beside it changes. Where wrong checksums are accepted, one that took the place of what was read
-- is accepted after that.
SELECT o.key
FROM jsonb_to_recordset(%(listed)s) AS l (key text, etag text, last_modified timestamptz, checksum_etag text)
JOIN archive_objects o USING (key)
WHERE (o.mixed AND (o.verdict IN ('ok', 'accepted') OR (%(accepts)s AND o.verdict = 'wrong checksum')))
   OR coalesce(o.etag <> l.etag, o.last_modified <> date_trunc('second', l.last_modified), false)
   OR (o.verdict <> 'ok' AND (o.attempts < %(most)s OR o.checksum_etag IS DISTINCT FROM l.checksum_etag))
ORDER BY o.key
