-- Note what was told; what was told later stays.
INSERT INTO alerts AS a (recipient, finding, level, since, told_at, looks_below)
SELECT * FROM unnest(%(recipients)s::text[], %(findings)s::text[], %(levels)s::text[], %(since)s::timestamptz[], %(told_at)s::timestamptz[],
                     %(looks_below)s::smallint[])
ORDER BY 1, 2
ON CONFLICT (recipient, finding) DO UPDATE
SET level = EXCLUDED.level, since = EXCLUDED.since, told_at = EXCLUDED.told_at, looks_below = EXCLUDED.looks_below
WHERE EXCLUDED.told_at > a.told_at
