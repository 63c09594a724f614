-- Points on a grid: the ledger calls present what the table lacks, or the table has what the ledger does not call present, or
-- what lies beside the grid. By days, so that a look at a part of them finds the same again.
WITH looked AS (
    SELECT l.symbol, l.series, l.step, l.windows, c.present
    FROM unnest(%(symbols)s::text[], %(series)s::text[], %(steps)s::text[], %(windows)s::tstzmultirange[]) AS l (symbol, series, step, windows)
    JOIN coverage c ON c.dataset = %(target)s AND c.symbol = l.symbol AND c.series = l.series
), held AS (
    SELECT l.*, coalesce(s.stored, '{{}}') AS stored, coalesce(s.beside, '{{}}') AS beside
    FROM looked l CROSS JOIN LATERAL (
        SELECT range_agg(tstzrange(t.time, t.time + staging.period(l.step))) AS stored,
               range_agg(tstzrange(t.time, t.time + staging.period(l.step)))
                   FILTER (WHERE t.time <> CASE l.step WHEN '1M' THEN date_trunc('month', t.time)
                                                -- Weeks begin on Mondays.
                                                WHEN '1w' THEN date_bin('7 days', t.time, '1970-01-05 00:00Z')
                                                ELSE date_bin(staging.period(l.step), t.time, 'epoch') END) AS beside
        FROM unnest(l.windows) AS w (span) JOIN {table} t ON t.time >= lower(w.span) AND t.time < upper(w.span)
        WHERE t.symbol = l.symbol AND {of_series} AND t.time >= %(start)s AND t.time < %(end)s
    ) s
)
SELECT h.symbol, h.series, d.part AS "window", 'critical' AS severity, 'time' AS "column",
       jsonb_build_object('what', k.what, 'points', ceil(extract(epoch FROM upper(d.part) - lower(d.part)) / extract(epoch FROM staging.period(h.step)))::bigint) AS detail
FROM held h
CROSS JOIN LATERAL (VALUES
    ('the ledger calls it present, the table lacks it', h.present * h.windows - h.stored),
    ('the table has it, the ledger does not call it present', h.stored - h.present - h.beside),
    ('the table has it beside the grid', h.beside)
) AS k (what, windows)
CROSS JOIN LATERAL unnest(k.windows) AS r (span)
CROSS JOIN LATERAL (SELECT r.span * tstzrange(day, day + interval '1 day') AS part
                    FROM generate_series(date_trunc('day', lower(r.span)), upper(r.span), interval '1 day') AS day) d
WHERE NOT isempty(d.part)
