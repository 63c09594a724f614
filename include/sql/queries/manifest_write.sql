-- The last act of staging; it changes no row where another attempt has claimed the batch meanwhile.
UPDATE staging.manifests SET contents = %(contents)s, evidence = %(evidence)s
WHERE batch = %(batch)s AND stage_id = %(stage_id)s
