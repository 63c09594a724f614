-- Compare what archive and REST have staged, key by key and column by column, where both have given a series. A value that
-- one of them lacks is counted apart.
WITH compared AS (
    SELECT symbol, {series} AS series, time, v."column", v.tolerance, v.archive, v.rest
    FROM ({archive}) a FULL JOIN ({rest}) r USING ({key})
    CROSS JOIN LATERAL (VALUES {values}) AS v ("column", archive, rest, tolerance)
    WHERE EXISTS (SELECT FROM unnest(%(symbols)s::text[], %(series)s::text[], %(compared)s::tstzmultirange[])
                       AS g (of_symbol, of_series, given)
                  WHERE (of_symbol, of_series) = (symbol, {ledger_series}) AND time <@ given)
), judged AS (
    SELECT *, abs(archive - rest) > tolerance AS is_beyond,
           row_number() OVER (PARTITION BY symbol, series, "column", abs(archive - rest) > tolerance ORDER BY time) AS number
    FROM compared
)
INSERT INTO reconciliations AS k (dataset, symbol, series, "column", "window", tolerance, agree, within, beyond, archive_only,
                                  rest_only, sample)
SELECT %(dataset)s, symbol, series, "column", %(window)s, min(tolerance),
       count(*) FILTER (WHERE archive = rest), count(*) FILTER (WHERE archive <> rest AND NOT is_beyond),
       count(*) FILTER (WHERE is_beyond), count(*) FILTER (WHERE rest IS NULL AND archive IS NOT NULL),
       count(*) FILTER (WHERE archive IS NULL AND rest IS NOT NULL),
       coalesce(jsonb_agg(jsonb_build_object('time', time, 'archive', archive, 'rest', rest) ORDER BY time)
                FILTER (WHERE is_beyond AND number <= 5), '[]')
FROM judged GROUP BY symbol, series, "column" ORDER BY symbol, series, "column"
ON CONFLICT (dataset, symbol, series, "column") DO UPDATE
SET ("window", tolerance, agree, within, beyond, archive_only, rest_only, sample, compared_at)
    = ROW (EXCLUDED."window", EXCLUDED.tolerance, EXCLUDED.agree, EXCLUDED.within, EXCLUDED.beyond, EXCLUDED.archive_only,
           EXCLUDED.rest_only, EXCLUDED.sample, now())
RETURNING dataset, symbol, series, "column", "window", tolerance, agree, within, beyond, archive_only, rest_only, sample
