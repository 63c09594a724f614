-- Every symbol ever seen.
SELECT symbol, exchange_symbol, quote, contract_type, status FROM symbols ORDER BY symbol
