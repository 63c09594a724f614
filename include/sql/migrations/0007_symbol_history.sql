-- What the exchange said of a contract, and when it began to say so: a row for each change, none is ever changed itself.

CREATE TABLE symbol_history (
    symbol        text        NOT NULL,
    seen_at       timestamptz NOT NULL DEFAULT now(),
    status        text        NOT NULL,
    contract_type text        NOT NULL,
    onboarded_at  timestamptz,
    delisted_at   timestamptz,
    PRIMARY KEY (symbol, seen_at)
);
COMMENT ON TABLE symbol_history IS 'Every state of a row of symbols, from seen_at on.';

INSERT INTO symbol_history (symbol, seen_at, status, contract_type, onboarded_at, delisted_at)
SELECT symbol, updated_at, status, contract_type, onboarded_at, delisted_at FROM symbols;

COMMENT ON COLUMN symbols.status IS 'The exchange''s word; DELISTED, which is ours, once it no longer lists the contract.';
COMMENT ON COLUMN symbols.contract_type IS 'The exchange''s word; PERPETUAL where only the archive knows the contract.';
COMMENT ON COLUMN symbols.onboarded_at IS 'The exchange''s word, or the first candle in the archive.';
COMMENT ON COLUMN symbols.delisted_at IS 'The exchange''s word, or the end of the last candle in the archive.';
COMMENT ON COLUMN coverage.available_to IS 'After this instant no source has anything: the contract was delisted.';
