-- A published batch needs its manifest no longer; data_versions has its story.
DELETE FROM staging.manifests WHERE batch = %(batch)s
