-- The fact tables. Plain SQL: runs on every tier. Times are UTC instants, prices in quote per base.
-- Keys lead with the symbol because every query of ours asks for one symbol's history.

CREATE FUNCTION source_rank(source text) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT CASE source WHEN 'archive' THEN 3 WHEN 'rest' THEN 2 WHEN 'stream' THEN 1 ELSE 0 END $$;
COMMENT ON FUNCTION source_rank IS 'What may overwrite what: archive over REST over stream.';

CREATE TABLE symbols (
    symbol          text PRIMARY KEY,
    exchange_symbol text NOT NULL UNIQUE,
    base            text NOT NULL,
    quote           text NOT NULL,
    contract_type   text NOT NULL,
    status          text NOT NULL,
    onboarded_at    timestamptz,
    delisted_at     timestamptz,
    updated_at      timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE symbols IS 'Every perpetual contract ever seen; delisted ones stay.';

CREATE TABLE ohlcv (
    symbol                 text             NOT NULL,
    timeframe              text             NOT NULL,
    time                   timestamptz      NOT NULL,
    open                   double precision NOT NULL,
    high                   double precision NOT NULL,
    low                    double precision NOT NULL,
    close                  double precision NOT NULL,
    volume                 double precision NOT NULL,
    quote_volume           double precision NOT NULL,
    trade_count            bigint           NOT NULL,
    taker_buy_volume       double precision NOT NULL,
    taker_buy_quote_volume double precision NOT NULL,
    source                 text             NOT NULL,
    first_seen_at          timestamptz      NOT NULL DEFAULT now(),
    ingested_at            timestamptz      NOT NULL DEFAULT now(),
    PRIMARY KEY (symbol, timeframe, time)
);
COMMENT ON TABLE ohlcv IS 'Candles. time is the open time; only closed candles are stored.';

CREATE TABLE open_interest (
    symbol              text             NOT NULL,
    time                timestamptz      NOT NULL,
    open_interest       double precision NOT NULL,
    open_interest_value double precision NOT NULL,
    source              text             NOT NULL,
    first_seen_at       timestamptz      NOT NULL DEFAULT now(),
    ingested_at         timestamptz      NOT NULL DEFAULT now(),
    PRIMARY KEY (symbol, time)
);
COMMENT ON TABLE open_interest IS 'Open interest every five minutes, in base and in quote.';

CREATE TABLE funding_rate (
    symbol         text             NOT NULL,
    time           timestamptz      NOT NULL,
    funding_rate   double precision NOT NULL,
    mark_price     double precision,
    interval_hours smallint,
    source         text             NOT NULL,
    first_seen_at  timestamptz      NOT NULL DEFAULT now(),
    ingested_at    timestamptz      NOT NULL DEFAULT now(),
    PRIMARY KEY (symbol, time)
);
COMMENT ON TABLE funding_rate IS 'Funding settlements. interval_hours ends at time; mark_price comes from REST alone.';

CREATE TABLE long_short_ratio (
    symbol                    text        NOT NULL,
    time                      timestamptz NOT NULL,
    top_position              double precision,
    top_account               double precision,
    global_account            double precision,
    taker_volume              double precision,
    top_position_long_share   double precision,
    top_account_long_share    double precision,
    global_account_long_share double precision,
    taker_buy_volume          double precision,
    taker_sell_volume         double precision,
    source                    text        NOT NULL,
    first_seen_at             timestamptz NOT NULL DEFAULT now(),
    ingested_at               timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (symbol, time)
);
COMMENT ON TABLE long_short_ratio IS 'Long/short ratios every five minutes; shares and volumes come from REST alone.';
