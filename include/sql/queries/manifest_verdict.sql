-- The gate's verdict, with the digests of the rows as it left them.
UPDATE staging.manifests SET verdict = %(verdict)s, contents = %(contents)s, checked_at = now()
WHERE batch = %(batch)s AND stage_id = %(stage_id)s
