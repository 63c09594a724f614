-- What is known of contracts now, every change kept in symbol_history. Where the list is the exchange's whole one, those
-- that it no longer names are delisted; their end stays what it has announced. What was named once keeps its name.
WITH listed AS (
    SELECT coalesce(k.symbol, l.symbol) AS symbol, l.exchange_symbol, l.base, l.quote, l.contract_type, l.status,
           l.onboarded_at, l.delisted_at, coalesce(l.market, k.market) AS market
    FROM jsonb_to_recordset(%(listed)s) AS l (symbol text, exchange_symbol text, base text, quote text, contract_type text,
                                              status text, onboarded_at timestamptz, delisted_at timestamptz, market text)
    LEFT JOIN symbols k ON k.exchange_symbol = l.exchange_symbol
), gone AS (
    UPDATE symbols k SET status = %(delisted)s, updated_at = now()
    WHERE %(whole)s AND status <> %(delisted)s AND NOT EXISTS (SELECT FROM listed l WHERE l.symbol = k.symbol)
    RETURNING symbol, status, contract_type, onboarded_at, delisted_at
), seen AS (
    INSERT INTO symbols AS k (symbol, exchange_symbol, base, quote, contract_type, status, onboarded_at, delisted_at, market)
    SELECT symbol, exchange_symbol, base, quote, contract_type, status, onboarded_at, delisted_at, market FROM listed l
    -- Looked up first: a conflict locks its row, and most are as they were.
    WHERE NOT EXISTS (SELECT FROM symbols s
                      WHERE s.symbol = l.symbol AND (s.contract_type, s.status, s.onboarded_at, s.delisted_at, s.market)
                          IS NOT DISTINCT FROM (l.contract_type, l.status, l.onboarded_at, l.delisted_at, l.market))
    ORDER BY symbol
    ON CONFLICT (symbol) DO UPDATE SET (contract_type, status, onboarded_at, delisted_at, market, updated_at)
        = ROW (EXCLUDED.contract_type, EXCLUDED.status, EXCLUDED.onboarded_at, EXCLUDED.delisted_at, EXCLUDED.market, now())
    WHERE (k.contract_type, k.status, k.onboarded_at, k.delisted_at, k.market)
        IS DISTINCT FROM (EXCLUDED.contract_type, EXCLUDED.status, EXCLUDED.onboarded_at, EXCLUDED.delisted_at, EXCLUDED.market)
    RETURNING symbol, status, contract_type, onboarded_at, delisted_at
)
INSERT INTO symbol_history (symbol, status, contract_type, onboarded_at, delisted_at)
SELECT symbol, status, contract_type, onboarded_at, delisted_at FROM gone
UNION ALL
SELECT symbol, status, contract_type, onboarded_at, delisted_at FROM seen s
WHERE (status, contract_type, onboarded_at, delisted_at)
    IS DISTINCT FROM (SELECT ROW (h.status, h.contract_type, h.onboarded_at, h.delisted_at) FROM symbol_history h
                      WHERE h.symbol = s.symbol ORDER BY h.seen_at DESC LIMIT 1)
RETURNING symbol, status
