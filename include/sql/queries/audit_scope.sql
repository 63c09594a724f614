-- What has to be looked at, by symbol: what no audit has seen since it was published, and what is disputed, which may have been
-- repaired. One scan of the ledger.
SELECT symbol, range_agg(windows) AS windows
FROM (SELECT symbol, CASE WHEN %(again)s THEN life ELSE present - audited + disputed END AS windows
      FROM (SELECT *, tstzmultirange(range_merge(present + missing_upstream + quarantined)) AS life FROM coverage
            WHERE dataset = %(dataset)s AND (%(symbols)s::text[] IS NULL OR symbol = ANY (%(symbols)s))) c) w
WHERE NOT isempty(windows)
GROUP BY symbol ORDER BY symbol
