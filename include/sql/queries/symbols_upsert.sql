-- What the exchange lists now. Symbols that it no longer lists stay as they were.
INSERT INTO symbols AS k (symbol, exchange_symbol, base, quote, contract_type, status, onboarded_at, delisted_at)
SELECT symbol, exchange_symbol, base, quote, contract_type, status, onboarded_at, delisted_at
FROM jsonb_to_recordset(%(listed)s) AS l (symbol text, exchange_symbol text, base text, quote text, contract_type text,
                                          status text, onboarded_at timestamptz, delisted_at timestamptz)
ORDER BY symbol
ON CONFLICT (symbol) DO UPDATE SET (contract_type, status, onboarded_at, delisted_at, updated_at)
    = ROW (EXCLUDED.contract_type, EXCLUDED.status, EXCLUDED.onboarded_at, EXCLUDED.delisted_at, now())
WHERE (k.contract_type, k.status, k.onboarded_at, k.delisted_at)
    IS DISTINCT FROM (EXCLUDED.contract_type, EXCLUDED.status, EXCLUDED.onboarded_at, EXCLUDED.delisted_at)
