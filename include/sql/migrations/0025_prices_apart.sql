-- Candles of trades and of mark price are compared from now on: what was audited before that was not.

UPDATE coverage SET audited = '{}', unaudited_since = coalesce(unaudited_since, now())
WHERE dataset IN ('ohlcv', 'mark_price') AND NOT isempty(present);

COMMENT ON COLUMN quarantine.decision IS 'released: this row passes this expectation whenever it is read. rejected: it never does. superseded: nobody decided; the same source, or a better one, gave a row for the key later, and that was published. Null: nobody has decided.';
