-- What open critical findings are about is disputed, and nothing else.
UPDATE coverage c SET disputed = d.disputed
FROM (SELECT v.dataset, v.symbol, v.series,
             coalesce((SELECT range_agg(f."window") FROM audit_findings f
                       WHERE f.dataset = v.dataset AND f.symbol = v.symbol AND f.series = v.series
                         AND f.resolved_at IS NULL AND f.severity = 'critical'), '{{}}') AS disputed
      FROM coverage v WHERE v.dataset = ANY (%(datasets)s) AND v.symbol = ANY (%(symbols)s)) d
WHERE c.dataset = d.dataset AND c.symbol = d.symbol AND c.series = d.series AND c.disputed <> d.disputed
