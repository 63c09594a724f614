-- When the markets that TradFi contracts follow are closed, as the exchange's schedule has said so far: a row for each market.

ALTER TABLE symbols ADD COLUMN market text;
COMMENT ON COLUMN symbols.market IS 'The exchange''s underlyingType, such as COIN or EQUITY; null where only the archive knows the contract.';

CREATE TABLE market_sessions (
    market     text PRIMARY KEY,
    known      tstzmultirange NOT NULL,
    closed     tstzmultirange NOT NULL,
    updated_at timestamptz    NOT NULL DEFAULT now()
);
COMMENT ON TABLE market_sessions IS 'Schedules of the markets of TradFi contracts: known is the time that they were seen to speak of, closed the part without trading.';
