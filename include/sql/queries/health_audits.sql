-- Open critical findings, and how many series wait for their audits for longer than they should.
SELECT f.findings, f.series AS disputed, f.audits, w.waiting, w.since, w.oldest, w.datasets
FROM (SELECT count(*) AS findings, count(DISTINCT (dataset, symbol, series)) AS series, coalesce(array_agg(DISTINCT audit), ARRAY[]::text[]) AS audits
      FROM audit_findings WHERE resolved_at IS NULL AND severity = 'critical') f
CROSS JOIN (SELECT count(*) AS waiting, min(unaudited_since) AS since, now() - min(unaudited_since) AS oldest,
                   coalesce(array_agg(DISTINCT dataset), ARRAY[]::text[]) AS datasets
            FROM coverage WHERE unaudited_since < now() - %(longest)s) w
