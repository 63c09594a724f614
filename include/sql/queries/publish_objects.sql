-- Archive files that this batch read, as they were when read.
INSERT INTO archive_objects AS a (key, sha256, etag, last_modified, first_label, last_label, alignment, rows, verdict, detail)
SELECT key, sha256, etag, last_modified, first_label, last_label, alignment, rows, verdict, detail
FROM jsonb_to_recordset(%(objects)s) AS o (key text, sha256 text, etag text, last_modified timestamptz, first_label text,
                                           last_label text, alignment text, rows bigint, verdict text, detail text)
ORDER BY key
ON CONFLICT (key) DO UPDATE
SET (sha256, etag, last_modified, first_label, last_label, alignment, rows, verdict, detail, read_at)
    = ROW (EXCLUDED.sha256, EXCLUDED.etag, EXCLUDED.last_modified, EXCLUDED.first_label, EXCLUDED.last_label,
           EXCLUDED.alignment, EXCLUDED.rows, EXCLUDED.verdict, EXCLUDED.detail, now())
WHERE (a.sha256, a.etag, a.alignment, a.verdict)
      IS DISTINCT FROM (EXCLUDED.sha256, EXCLUDED.etag, EXCLUDED.alignment, EXCLUDED.verdict)
