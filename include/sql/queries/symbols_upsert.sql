-- What is known of contracts now, every change kept in symbol_history. Where the list is the exchange's whole one, those
-- that it no longer names are delisted; their end stays what it has announced.
WITH listed AS (
    SELECT symbol, exchange_symbol, base, quote, contract_type, status, onboarded_at, delisted_at
    FROM jsonb_to_recordset(%(listed)s) AS l (symbol text, exchange_symbol text, base text, quote text, contract_type text,
                                              status text, onboarded_at timestamptz, delisted_at timestamptz)
), gone AS (
    UPDATE symbols k SET status = %(delisted)s, updated_at = now()
    WHERE %(whole)s AND status <> %(delisted)s AND NOT EXISTS (SELECT FROM listed l WHERE l.symbol = k.symbol)
    RETURNING symbol, status, contract_type, onboarded_at, delisted_at
), seen AS (
    INSERT INTO symbols AS k (symbol, exchange_symbol, base, quote, contract_type, status, onboarded_at, delisted_at)
    SELECT symbol, exchange_symbol, base, quote, contract_type, status, onboarded_at, delisted_at FROM listed ORDER BY symbol
    ON CONFLICT (symbol) DO UPDATE SET (contract_type, status, onboarded_at, delisted_at, updated_at)
        = ROW (EXCLUDED.contract_type, EXCLUDED.status, EXCLUDED.onboarded_at, EXCLUDED.delisted_at, now())
    WHERE (k.contract_type, k.status, k.onboarded_at, k.delisted_at)
        IS DISTINCT FROM (EXCLUDED.contract_type, EXCLUDED.status, EXCLUDED.onboarded_at, EXCLUDED.delisted_at)
    RETURNING symbol, status, contract_type, onboarded_at, delisted_at
)
INSERT INTO symbol_history (symbol, status, contract_type, onboarded_at, delisted_at)
SELECT symbol, status, contract_type, onboarded_at, delisted_at FROM gone
UNION ALL
SELECT symbol, status, contract_type, onboarded_at, delisted_at FROM seen
RETURNING symbol, status
