-- A new attempt makes the batch its own; any earlier attempt's rows become orphans.
INSERT INTO staging.manifests (batch, stage_id, datasets, symbols, "window", run)
VALUES (%(batch)s, nextval('staging.attempts'), %(datasets)s, %(symbols)s, %(window)s, %(run)s)
ON CONFLICT (batch) DO UPDATE SET (stage_id, datasets, symbols, "window", run, contents, evidence, verdict, claimed_at, checked_at)
    = ROW (EXCLUDED.stage_id, EXCLUDED.datasets, EXCLUDED.symbols, EXCLUDED."window", EXCLUDED.run, NULL, NULL, NULL, now(), NULL)
RETURNING stage_id
