-- What should be there and is neither present nor explained, over all series: each one's life, as far as it is wanted and
-- has settled, minus all that is covered; what audits found lost is not. One scan of the ledger, a row for each hole. A series
-- of which there is nothing has holes to who asks for its symbol by name; else it was never loaded, which is another's work.
SELECT c.dataset, c.symbol, c.series, lower(h.hole) AS start, upper(h.hole) AS until
FROM unnest(%(datasets)s::text[], %(series)s::text[], %(wanted)s::tstzrange[]) AS w (dataset, series, span)
JOIN coverage c USING (dataset, series),
     unnest(tstzmultirange(w.span * tstzrange(c.available_from, c.available_to))
            - (c.present - c.lost) - c.quarantined
            - CASE WHEN c.recheck_at <= %(overdue)s THEN '{{}}'
                   WHEN c.recheck_at <= %(now)s THEN c.missing_upstream * c.rechecked
                   ELSE c.missing_upstream END) AS h (hole)
WHERE c.available_from IS NOT NULL
  AND CASE WHEN %(symbols)s::text[] IS NULL
           THEN NOT (isempty(c.present) AND isempty(c.missing_upstream) AND isempty(c.quarantined))
           ELSE c.symbol = ANY (%(symbols)s) END
ORDER BY c.dataset, c.symbol, c.series, h.hole
