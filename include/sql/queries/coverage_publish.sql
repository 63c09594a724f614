-- Describe what this transaction publishes. On a grid a series covers its points; without one (funding) a window that a
-- source answered fully is covered whole. Where every source has answered, what is still absent is missing upstream.
-- Where staging has kept what the rows cover, and none is withheld, they are not looked through again.
-- What the audits have looked at and this transaction has changed, they have to look at again: rows that it wrote carry its time.
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
           coalesce(a.by_all, '{{}}') AS absent,
           coalesce(s.present + s.withheld, '{{}}') + coalesce(a.by_any + a.by_all, '{{}}') AS looked_for
    FROM staged s FULL JOIN answered a USING (symbol, series)
), rewritten AS (
    SELECT c.symbol, c.series, r.windows
    FROM coverage c CROSS JOIN LATERAL (
        SELECT range_agg(tstzrange(t.time, t.time + staging.period({step}))) AS windows FROM {table} t
        WHERE t.symbol = c.symbol AND {of_series} AND t.time >= %(start)s AND t.time < %(end)s AND t.ingested_at = now() AND c.audited @> t.time
    ) r
    WHERE %(changed)s AND c.dataset = %(dataset)s AND c.audited && tstzrange(%(start)s, %(end)s)
      AND c.symbol IN (SELECT symbol FROM change)
), merged AS (
    SELECT c.symbol, c.series, c.present - c.lost * v.looked_for + v.present AS present, c.quarantined + v.withheld AS held,
           c.missing_upstream + v.absent AS lacking, c.missing_upstream AS known, c.lost - v.looked_for AS lost,
           -- What nobody has asked for in all that time does not hold up the rest for ever: the round begins anew.
           CASE WHEN c.recheck_at <= %(overdue)s THEN %(now)s ELSE c.recheck_at END AS recheck_at,
           -- What is absent for the first time was asked for, and not again.
           CASE WHEN c.recheck_at <= %(overdue)s THEN v.absent * c.missing_upstream
                WHEN c.recheck_at <= %(now)s THEN c.rechecked + v.absent * c.missing_upstream
                WHEN c.recheck_all_at IS NOT NULL THEN c.rechecked
                ELSE '{{}}' END AS rechecked,
           c.rechecks, c.recheck_all_at, c.audited - coalesce(r.windows, '{{}}') AS audited
    FROM coverage c JOIN change v USING (symbol, series) LEFT JOIN rewritten r USING (symbol, series)
    WHERE c.dataset = %(dataset)s
), described AS (
    SELECT symbol, series, present, held - present AS quarantined, lacking - present - held AS missing, known, lost, recheck_at,
           recheck_all_at, rechecks, audited, rechecked * (lacking - present - held) AS rechecked
    FROM merged
), decided AS (
    SELECT *, NOT isempty(missing) AND missing = rechecked AS in_vain,
           -- Batches that ran side by side have clocks of their own, and one date all the same.
           NOT isempty(missing - known) AND recheck_all_at IS NULL
               AND recheck_at > %(now)s + %(recheck_after)s + interval '1 day' AS new_comes_first
    FROM described
)
UPDATE coverage c
SET present          = d.present,
    quarantined      = d.quarantined,
    missing_upstream = d.missing,
    -- A date stands until it falls due and all that is missing has been asked for again; then the pause doubles. What is found
    -- missing only now does not wait as long as what has been for months: it has a date of its own before.
    recheck_at       = CASE WHEN isempty(d.missing) THEN NULL
                            WHEN d.recheck_at IS NULL THEN %(now)s + %(recheck_after)s
                            WHEN d.in_vain THEN coalesce(d.recheck_all_at, %(now)s + %(recheck_after)s * power(2, least(d.rechecks + 1, 4)))
                            WHEN d.new_comes_first THEN %(now)s + %(recheck_after)s
                            ELSE d.recheck_at END,
    recheck_all_at   = CASE WHEN isempty(d.missing) OR d.in_vain THEN NULL
                            WHEN d.new_comes_first THEN d.recheck_at
                            ELSE d.recheck_all_at END,
    rechecked        = CASE WHEN d.in_vain THEN '{{}}' WHEN d.new_comes_first THEN d.known * d.missing ELSE d.rechecked END,
    rechecks         = CASE WHEN isempty(d.missing) THEN 0 WHEN d.in_vain AND d.recheck_all_at IS NULL THEN least(d.rechecks + 1, 100) ELSE d.rechecks END,
    audited          = d.audited,
    lost             = d.lost,
    unaudited_since  = CASE WHEN NOT d.audited @> d.present THEN coalesce(c.unaudited_since, now()) END,
    updated_at       = now()
FROM decided d
WHERE c.dataset = %(dataset)s AND c.symbol = d.symbol AND c.series = d.series
