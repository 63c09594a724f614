-- Archive files that this batch read, as they were when read; of one that was left out, how often in a row. Another issue than
-- was read before, of which only a part was asked for, leaves rows of both; so does one that was left out, once a part of it is
-- read: only who reads the whole file again ends that.
INSERT INTO archive_objects AS a (key, sha256, etag, last_modified, checksum_etag, first_label, last_label, alignment, rows,
                                  verdict, detail, mixed)
SELECT key, sha256, etag, last_modified, checksum_etag, first_label, last_label, alignment, rows, verdict, detail,
       coalesce(mixed, false)
FROM jsonb_to_recordset(%(objects)s) AS o (key text, sha256 text, etag text, last_modified timestamptz, checksum_etag text,
                                           first_label text, last_label text, alignment text, rows bigint, verdict text,
                                           detail text, mixed boolean)
ORDER BY key
ON CONFLICT (key) DO UPDATE
SET (sha256, etag, last_modified, checksum_etag, first_label, last_label, alignment, rows, verdict, detail, read_at, attempts,
     mixed)
    = ROW (EXCLUDED.sha256, EXCLUDED.etag, EXCLUDED.last_modified, EXCLUDED.checksum_etag, EXCLUDED.first_label,
           EXCLUDED.last_label, EXCLUDED.alignment, EXCLUDED.rows, EXCLUDED.verdict, EXCLUDED.detail, now(),
           CASE WHEN EXCLUDED.verdict <> 'ok' AND a.verdict <> 'ok' AND EXCLUDED.sha256 IS NOT DISTINCT FROM a.sha256
                THEN a.attempts + 1 ELSE 1 END,
           CASE WHEN %(reread)s AND EXCLUDED.verdict IN ('ok', 'accepted') THEN EXCLUDED.mixed
                ELSE a.mixed OR (a.verdict IN ('ok', 'accepted') AND a.sha256 IS DISTINCT FROM EXCLUDED.sha256) END)
WHERE (a.sha256, a.etag, a.last_modified, a.checksum_etag, a.alignment, a.verdict)
      IS DISTINCT FROM (EXCLUDED.sha256, EXCLUDED.etag, EXCLUDED.last_modified, EXCLUDED.checksum_etag, EXCLUDED.alignment,
                        EXCLUDED.verdict)
   OR EXCLUDED.verdict <> 'ok' OR (%(reread)s AND a.mixed <> EXCLUDED.mixed)
