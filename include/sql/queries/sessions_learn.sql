-- Take up what a schedule says; the latest word on a time counts.
INSERT INTO market_sessions AS m (market, known, closed)
VALUES (%(market)s, %(known)s, %(closed)s)
ON CONFLICT (market) DO UPDATE
SET known = m.known + EXCLUDED.known, closed = m.closed - EXCLUDED.known + EXCLUDED.closed, updated_at = now()
WHERE NOT (m.known @> EXCLUDED.known AND m.closed * EXCLUDED.known = EXCLUDED.closed)
