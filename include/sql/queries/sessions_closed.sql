-- When the markets of some contracts (of all where it is null) are closed, by symbol; those that are always open are left out.
SELECT s.symbol, m.closed FROM symbols s JOIN market_sessions m USING (market)
WHERE %(symbols)s::text[] IS NULL OR s.symbol = ANY (%(symbols)s)
