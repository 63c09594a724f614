-- Liquidations exist in the live stream alone: what comes is kept whole until it has passed the gate, wherever it waits.

CREATE TABLE liquidations (
    symbol          text             NOT NULL,
    time            timestamptz      NOT NULL,
    side            text             NOT NULL,
    average_price   double precision NOT NULL,
    filled_quantity double precision NOT NULL,
    price           double precision NOT NULL,
    quantity        double precision NOT NULL,
    order_type      text             NOT NULL,
    time_in_force   text             NOT NULL,
    status          text             NOT NULL,
    source          text             NOT NULL,
    first_seen_at   timestamptz      NOT NULL DEFAULT now(),
    ingested_at     timestamptz      NOT NULL DEFAULT now(),
    PRIMARY KEY (symbol, time, side, average_price, filled_quantity)
);
COMMENT ON TABLE liquidations IS 'Liquidation orders as the exchange tells of them: at most one a second and symbol, the largest. No event has an id, hence the key. coverage.listening says when anybody listened.';
COMMENT ON COLUMN liquidations.side IS 'SELL closed a long position, BUY a short one.';
COMMENT ON COLUMN coverage.listening IS 'When a stream that nothing can replace was listened to, in the exchange''s time; elsewhere nothing is known.';

CREATE UNLOGGED TABLE staging.liquidations (
    stage_id        bigint NOT NULL,
    origin          integer NOT NULL,
    source          text NOT NULL,
    symbol          text NOT NULL,
    series          text NOT NULL,
    received_ms     bigint,
    event_time_ms   bigint,
    exchange_symbol text,
    side            text,
    order_type      text,
    time_in_force   text,
    quantity        double precision,
    price           double precision,
    average_price   double precision,
    status          text,
    filled_quantity double precision,
    trade_time_ms   bigint,
    withheld        text[],
    time       timestamptz GENERATED ALWAYS AS (staging.from_ms(trade_time_ms)) STORED,
    event_time timestamptz GENERATED ALWAYS AS (staging.from_ms(event_time_ms)) STORED
);
ALTER TABLE staging.liquidations SET (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 50000);

-- Logged, unlike all else in this schema: nobody else has these.
CREATE TABLE staging.received (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    frame       bytea,
    received_ms bigint,
    start_ms    bigint,
    end_ms      bigint,
    batch       text,
    claimed_at  timestamptz,
    CHECK ((frame IS NULL) = (received_ms IS NULL) AND (frame IS NULL) <> (start_ms IS NULL) AND (start_ms IS NULL) = (end_ms IS NULL))
);
COMMENT ON TABLE staging.received IS 'What the stream received while Redis was away: frames with liquidations, and when it listened (ms, the exchange''s time). A row goes in the transaction that publishes what it holds.';
