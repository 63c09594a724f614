-- Describe what this transaction publishes. On a grid a series covers its points; where every source has answered, what
-- is still absent is missing upstream. Without a grid (funding) a window that a source answered fully is covered whole.
-- Where staging has kept what the rows cover, and none is withheld, they are not looked through again.
WITH staged AS (
    SELECT symbol, series,
           coalesce(range_agg(tstzrange(time, until)) FILTER (WHERE withheld IS NULL), '{{}}') AS present,
           coalesce(range_agg(tstzrange(time, until)) FILTER (WHERE withheld IS NOT NULL), '{{}}') AS withheld
    FROM {points} WHERE NOT %(known)s AND stage_id = %(stage_id)s AND time >= %(start)s AND time < %(end)s
    GROUP BY symbol, series
    UNION ALL
    SELECT symbol, series, covered, '{{}}'
    FROM unnest(%(known_symbols)s::text[], %(known_series)s::text[], %(covered)s::tstzmultirange[])
         AS k (symbol, series, covered)
), answered AS (
    SELECT symbol, series, by_any, by_all
    FROM unnest(%(symbols)s::text[], %(series)s::text[], %(by_any)s::tstzmultirange[], %(by_all)s::tstzmultirange[])
         AS a (symbol, series, by_any, by_all)
), change AS (
    SELECT symbol, series, coalesce(s.withheld, '{{}}') AS withheld,
           CASE WHEN %(on_grid)s THEN coalesce(s.present, '{{}}') ELSE coalesce(a.by_any, '{{}}') - coalesce(s.withheld, '{{}}') END AS present,
           CASE WHEN %(on_grid)s THEN coalesce(a.by_all, '{{}}') ELSE '{{}}' END AS absent
    FROM staged s FULL JOIN answered a USING (symbol, series)
)
UPDATE coverage c
SET present          = c.present + v.present,
    quarantined      = (c.quarantined + v.withheld) - (c.present + v.present),
    missing_upstream = (c.missing_upstream + v.absent) - (c.present + v.present) - (c.quarantined + v.withheld),
    recheck_at       = CASE WHEN isempty((c.missing_upstream + v.absent) - (c.present + v.present) - (c.quarantined + v.withheld)) THEN NULL
                            WHEN isempty(v.absent - c.missing_upstream - v.present - c.present) THEN c.recheck_at
                            ELSE coalesce(greatest(c.recheck_at, %(recheck_at)s), %(recheck_at)s) END,
    updated_at       = now()
FROM change v
WHERE c.dataset = %(dataset)s AND c.symbol = v.symbol AND c.series = v.series
