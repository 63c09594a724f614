-- A batch's manifest.
SELECT stage_id, contents, evidence, verdict FROM staging.manifests WHERE batch = %(batch)s
