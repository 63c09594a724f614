-- A batch's manifest, held until the transaction ends: no other attempt claims the batch and no sweep forgets it meanwhile.
SELECT stage_id, contents, evidence, verdict FROM staging.manifests WHERE batch = %(batch)s FOR UPDATE
