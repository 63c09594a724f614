-- What open critical findings are about is disputed, and nothing else. Where the table lacks what the ledger calls present (the
-- findings' own words) it is lost, too, and asked for again; of settlements until no file can bring them any more.
UPDATE coverage c SET disputed = d.disputed, lost = d.lost * c.present
FROM (SELECT v.dataset, v.symbol, v.series, coalesce(f.disputed, '{{}}') AS disputed, coalesce(f.lost, '{{}}') AS lost
      FROM coverage v CROSS JOIN LATERAL (
          SELECT range_agg(f."window") AS disputed,
                 range_agg(f."window") FILTER (WHERE f.detail ->> 'what' LIKE '%%the table lacks%%'
                                                 AND (f.audit <> 'settlements_follow' OR f.found_at > now() - interval '45 days')) AS lost
          FROM audit_findings f
          WHERE f.dataset = v.dataset AND f.symbol = v.symbol AND f.series = v.series
            AND f.resolved_at IS NULL AND f.severity = 'critical') f
      WHERE v.dataset = ANY (%(datasets)s) AND v.symbol = ANY (%(symbols)s)) d
WHERE c.dataset = d.dataset AND c.symbol = d.symbol AND c.series = d.series
  AND (c.disputed, c.lost) IS DISTINCT FROM (d.disputed, d.lost * c.present)
