-- Candles of the premium index, out of which funding rates are made. They have no volumes.

CREATE TABLE premium_index (
    symbol        text             NOT NULL,
    timeframe     text             NOT NULL,
    time          timestamptz      NOT NULL,
    open          double precision NOT NULL,
    high          double precision NOT NULL,
    low           double precision NOT NULL,
    close         double precision NOT NULL,
    source        text             NOT NULL,
    first_seen_at timestamptz      NOT NULL DEFAULT now(),
    ingested_at   timestamptz      NOT NULL DEFAULT now(),
    PRIMARY KEY (symbol, timeframe, time)
);
COMMENT ON TABLE premium_index IS 'Candles of the premium of the contract over its index, as a fraction. time is the open time; only closed candles are stored.';

-- What the exchange writes in place of volumes says nothing: it is taken as text, whatever it is, and goes no further.
CREATE UNLOGGED TABLE staging.premium_index (
    stage_id           bigint NOT NULL,
    origin             integer NOT NULL,
    source             text NOT NULL,
    symbol             text NOT NULL,
    timeframe          text NOT NULL,
    open_time_ms       bigint,
    open               double precision,
    high               double precision,
    low                double precision,
    close              double precision,
    no_volume          text,
    close_time_ms      bigint,
    no_quote_volume    text,
    sample_count       text,
    no_taker_volume    text,
    no_taker_quote     text,
    ignored            text,
    withheld           text[],
    time timestamptz GENERATED ALWAYS AS (staging.from_ms(open_time_ms)) STORED
);
ALTER TABLE staging.premium_index SET (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 50000);
CREATE VIEW staging.premium_index_points AS
SELECT stage_id, source, symbol, timeframe AS series, time, time + staging.period(timeframe) AS until, withheld
FROM staging.premium_index;
