-- Each coarser candle against the finest ones that are present throughout its time: open, high, low and close are picked out
-- of theirs and equal to the last digit, sums within rounding. Nobody knows which of the two is wrong: both are disputed.
WITH looked AS MATERIALIZED (
    SELECT symbol, series, span
    FROM unnest(%(symbols)s::text[], %(series)s::text[], %(windows)s::tstzmultirange[]) AS l (symbol, series, windows), unnest(l.windows) AS w (span)
    WHERE series = ANY (%(coarse)s)
), coarse AS MATERIALIZED (
    SELECT c.*, tstzrange(c.time, c.time + staging.period(c.timeframe)) AS span
    FROM looked l CROSS JOIN LATERAL (
        SELECT t.* FROM {table} t
        WHERE t.symbol = l.symbol AND t.timeframe = l.series AND t.time >= lower(l.span) AND t.time < upper(l.span)
          AND t.time >= %(start)s AND t.time < %(end)s OFFSET 0
    ) c
), finer AS MATERIALIZED (
    SELECT p.coarse, v.symbol, v.series AS fine, v.present, p.rank
    FROM unnest(%(coarse)s::text[], %(fine)s::text[]) WITH ORDINALITY AS p (coarse, fine, rank)
    JOIN coverage v ON v.dataset = %(target)s AND v.series = p.fine
    WHERE v.symbol = ANY (%(symbols)s)
), paired AS MATERIALIZED (
    SELECT DISTINCT ON (c.symbol, c.timeframe, c.time) c.*, f.fine, upper(c.span) - staging.period(f.fine) AS final,
           extract(epoch FROM upper(c.span) - c.time) / extract(epoch FROM staging.period(f.fine)) AS candles
    FROM coarse c JOIN finer f ON f.coarse = c.timeframe AND f.symbol = c.symbol AND f.present @> c.span
    ORDER BY c.symbol, c.timeframe, c.time, f.rank
)
SELECT p.symbol, s.series, p.span AS "window", 'critical' AS severity, v."column",
       jsonb_build_object('timeframe', p.timeframe, 'stored', v.stored, 'finer', p.fine, 'of finer', v.summed) AS detail
FROM paired p CROSS JOIN LATERAL (
    SELECT count(*) AS candles, max(t.open) FILTER (WHERE t.time = p.time) AS open, max(t.high) AS high, min(t.low) AS low,
           max(t.close) FILTER (WHERE t.time = p.final) AS close{sums}
    FROM {table} t
    WHERE t.symbol = p.symbol AND t.timeframe = p.fine AND t.time >= p.time AND t.time < upper(p.span) AND t.time >= %(start)s AND t.time < %(end)s
) u
CROSS JOIN LATERAL (VALUES {compared}) AS v ("column", stored, summed, tolerance)
CROSS JOIN LATERAL (VALUES (p.timeframe), (p.fine)) AS s (series)
WHERE u.candles = p.candles AND abs(v.stored - v.summed) > v.tolerance * greatest(abs(v.stored), abs(v.summed))
