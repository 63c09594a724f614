-- Every symbol ever seen.
SELECT symbol, exchange_symbol, base, quote, contract_type, status, onboarded_at, delisted_at, market FROM symbols ORDER BY symbol
