-- What has been published so far.
SELECT count(DISTINCT batch) AS batches, coalesce(sum(inserted), 0)::bigint AS inserted, coalesce(sum(updated), 0)::bigint AS updated,
       coalesce(sum(quarantined), 0)::bigint AS quarantined
FROM data_versions WHERE %(run)s::text IS NULL OR run = %(run)s
