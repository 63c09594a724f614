-- The folders of the archive of which files were read, and the part of each that they span.
SELECT regexp_replace(key, '[^/]+$', '') AS name, min(key) AS first, max(key) AS last FROM archive_objects GROUP BY 1 ORDER BY 1
