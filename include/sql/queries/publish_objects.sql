-- Archive files that this batch read, as they were when read; of one that was left out, how often in a row.
INSERT INTO archive_objects AS a (key, sha256, etag, last_modified, checksum_etag, first_label, last_label, alignment, rows,
                                  verdict, detail)
SELECT key, sha256, etag, last_modified, checksum_etag, first_label, last_label, alignment, rows, verdict, detail
FROM jsonb_to_recordset(%(objects)s) AS o (key text, sha256 text, etag text, last_modified timestamptz, checksum_etag text,
                                           first_label text, last_label text, alignment text, rows bigint, verdict text,
                                           detail text)
ORDER BY key
ON CONFLICT (key) DO UPDATE
SET (sha256, etag, last_modified, checksum_etag, first_label, last_label, alignment, rows, verdict, detail, read_at, attempts)
    = ROW (EXCLUDED.sha256, EXCLUDED.etag, EXCLUDED.last_modified, EXCLUDED.checksum_etag, EXCLUDED.first_label,
           EXCLUDED.last_label, EXCLUDED.alignment, EXCLUDED.rows, EXCLUDED.verdict, EXCLUDED.detail, now(),
           CASE WHEN EXCLUDED.verdict <> 'ok' AND EXCLUDED.sha256 IS NOT DISTINCT FROM a.sha256 THEN a.attempts + 1 ELSE 1 END)
WHERE (a.sha256, a.etag, a.last_modified, a.checksum_etag, a.alignment, a.verdict)
      IS DISTINCT FROM (EXCLUDED.sha256, EXCLUDED.etag, EXCLUDED.last_modified, EXCLUDED.checksum_etag, EXCLUDED.alignment,
                        EXCLUDED.verdict)
   OR EXCLUDED.verdict <> 'ok'
