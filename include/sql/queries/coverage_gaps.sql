-- Gaps of some series inside the spans asked for: the series' life minus all that is covered. What audits found lost is not.
-- One expression, one scan.
SELECT c.symbol, c.series,
       tstzmultirange(w.span * tstzrange(c.available_from, c.available_to))
         - CASE WHEN %(again)s THEN '{{}}'::tstzmultirange
                ELSE c.present - c.lost + c.quarantined
                     + CASE WHEN c.recheck_at <= %(overdue)s THEN '{{}}'
                            WHEN c.recheck_at <= %(now)s THEN c.missing_upstream * c.rechecked
                            ELSE c.missing_upstream END END AS gaps
FROM coverage c
JOIN unnest(%(symbols)s::text[], %(series)s::text[], %(spans)s::tstzrange[]) AS w (symbol, series, span)
  ON w.symbol = c.symbol AND w.series = c.series
WHERE c.dataset = %(dataset)s AND c.available_from IS NOT NULL
ORDER BY c.symbol, c.series
