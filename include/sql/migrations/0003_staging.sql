-- Staging: wire rows as they came, under the id of the attempt that staged them. UNLOGGED, because a crash may empty
-- it: the logged manifest says what must be there, and publishing verifies that.
-- Columns that end in _ms, reported_* and create_time are the wire's; what the fact table needs is generated from them,
-- so that archive bytes go into COPY untouched and every normalisation rule stands here, once. `blank` marks a row that
-- holds no point at all. `origin` numbers the object or endpoint that the row came from, as listed in the manifest.

CREATE SCHEMA staging;

CREATE FUNCTION staging.snap(instant timestamptz, grid interval, tolerance interval) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE WHEN instant - date_bin(grid, instant + tolerance, 'epoch') BETWEEN -tolerance AND tolerance
                THEN date_bin(grid, instant + tolerance, 'epoch') ELSE instant END
$$;
COMMENT ON FUNCTION staging.snap IS 'The nearest grid point where it lies within the tolerance, else the instant itself.';

-- Exact for milliseconds until the year 2255: doubles hold integers up to 2^53 microseconds.
CREATE FUNCTION staging.from_ms(milliseconds bigint) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT to_timestamp(milliseconds / 1000.0::double precision) $$;

CREATE FUNCTION staging.period(timeframe text) RETURNS interval
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE timeframe
        WHEN '1m' THEN interval '1 minutes'
        WHEN '3m' THEN interval '3 minutes'
        WHEN '5m' THEN interval '5 minutes'
        WHEN '15m' THEN interval '15 minutes'
        WHEN '30m' THEN interval '30 minutes'
        WHEN '1h' THEN interval '1 hours'
        WHEN '2h' THEN interval '2 hours'
        WHEN '4h' THEN interval '4 hours'
        WHEN '6h' THEN interval '6 hours'
        WHEN '8h' THEN interval '8 hours'
        WHEN '12h' THEN interval '12 hours'
        WHEN '1d' THEN interval '1 days'
        WHEN '3d' THEN interval '3 days'
        WHEN '1w' THEN interval '7 days'
        WHEN '1M' THEN interval '1 month'
    END
$$;
COMMENT ON FUNCTION staging.period IS 'The length of a kline interval; the calendar month for 1M.';

CREATE TABLE staging.manifests (
    batch      text PRIMARY KEY,
    stage_id   uuid        NOT NULL,
    datasets   text[]      NOT NULL,
    symbols    text[]      NOT NULL,
    "window"   tstzrange   NOT NULL,
    run        text        NOT NULL,
    contents   jsonb,
    evidence   jsonb,
    verdict    jsonb,
    claimed_at timestamptz NOT NULL DEFAULT now(),
    checked_at timestamptz
);
COMMENT ON TABLE staging.manifests IS 'What each batch staged: rows and hash by dataset, objects read, windows asked; then the gate''s verdict. contents is null while an attempt is staging.';

CREATE UNLOGGED TABLE staging.ohlcv (
    stage_id               uuid NOT NULL,
    origin                 integer NOT NULL,
    source                 text NOT NULL,
    symbol                 text NOT NULL,
    timeframe              text NOT NULL,
    open_time_ms           bigint,
    open                   double precision,
    high                   double precision,
    low                    double precision,
    close                  double precision,
    volume                 double precision,
    close_time_ms          bigint,
    quote_volume           double precision,
    trade_count            bigint,
    taker_buy_volume       double precision,
    taker_buy_quote_volume double precision,
    ignored                text,
    withheld               text[],
    time  timestamptz GENERATED ALWAYS AS (to_timestamp(open_time_ms / 1000.0::double precision)) STORED,
    blank boolean GENERATED ALWAYS AS (false) STORED
);
CREATE VIEW staging.ohlcv_points AS
SELECT stage_id, source, symbol, timeframe AS series, time, time + staging.period(timeframe) AS until, withheld
FROM staging.ohlcv;

CREATE UNLOGGED TABLE staging.open_interest (
    stage_id                     uuid NOT NULL,
    origin                       integer NOT NULL,
    source                       text NOT NULL,
    symbol                       text NOT NULL,
    series                       text NOT NULL,
    create_time                  timestamp,
    timestamp_ms                 bigint,
    exchange_symbol              text,
    reported_open_interest       double precision,
    reported_open_interest_value double precision,
    top_account                  double precision,
    top_position                 double precision,
    global_account               double precision,
    taker_volume                 double precision,
    withheld                     text[],
    -- Zero or blank open interest is a missing point, not a value; so is open interest that is worth nothing.
    open_interest       double precision GENERATED ALWAYS AS (CASE WHEN reported_open_interest <> 0 AND reported_open_interest_value <> 0 THEN reported_open_interest END) STORED,
    open_interest_value double precision GENERATED ALWAYS AS (CASE WHEN reported_open_interest <> 0 AND reported_open_interest_value <> 0 THEN reported_open_interest_value END) STORED,
    reported_time timestamptz GENERATED ALWAYS AS (coalesce(staging.from_ms(timestamp_ms), create_time AT TIME ZONE 'UTC')) STORED,
    time timestamptz GENERATED ALWAYS AS (staging.snap(coalesce(staging.from_ms(timestamp_ms), create_time AT TIME ZONE 'UTC'), interval '5 minutes', interval '60 seconds')) STORED,
    blank boolean GENERATED ALWAYS AS ((coalesce(reported_open_interest, 0) = 0 OR coalesce(reported_open_interest_value, 0) = 0)) STORED
);
CREATE VIEW staging.open_interest_points AS
SELECT stage_id, source, symbol, '5m' AS series, time, time + interval '5 minutes' AS until, withheld
FROM staging.open_interest WHERE open_interest IS NOT NULL;

CREATE UNLOGGED TABLE staging.funding_rate (
    stage_id                uuid NOT NULL,
    origin                  integer NOT NULL,
    source                  text NOT NULL,
    symbol                  text NOT NULL,
    series                  text NOT NULL,
    funding_time_ms         bigint,
    reported_interval_hours double precision,
    funding_rate            double precision,
    mark_price              double precision,
    interval_hours          smallint,
    withheld                text[],
    reported_time timestamptz GENERATED ALWAYS AS (staging.from_ms(funding_time_ms)) STORED,
    time timestamptz GENERATED ALWAYS AS (staging.snap(staging.from_ms(funding_time_ms), interval '1 hour', interval '1 second')) STORED,
    blank boolean GENERATED ALWAYS AS (false) STORED
);
CREATE VIEW staging.funding_rate_points AS
SELECT stage_id, source, symbol, 'settlement' AS series, time, time + interval '1 hour' AS until, withheld
FROM staging.funding_rate;

CREATE UNLOGGED TABLE staging.long_short_ratio (
    stage_id                     uuid NOT NULL,
    origin                       integer NOT NULL,
    source                       text NOT NULL,
    symbol                       text NOT NULL,
    series                       text NOT NULL,
    create_time                  timestamp,
    timestamp_ms                 bigint,
    exchange_symbol              text,
    reported_open_interest       double precision,
    reported_open_interest_value double precision,
    top_account                  double precision,
    top_position                 double precision,
    global_account               double precision,
    taker_volume                 double precision,
    top_position_long_share      double precision,
    top_account_long_share       double precision,
    global_account_long_share    double precision,
    taker_buy_volume             double precision,
    taker_sell_volume            double precision,
    withheld                     text[],
    reported_time timestamptz GENERATED ALWAYS AS (coalesce(staging.from_ms(timestamp_ms), create_time AT TIME ZONE 'UTC')) STORED,
    time timestamptz GENERATED ALWAYS AS (staging.snap(coalesce(staging.from_ms(timestamp_ms), create_time AT TIME ZONE 'UTC'), interval '5 minutes', interval '60 seconds')) STORED,
    blank boolean GENERATED ALWAYS AS (num_nonnulls(top_account, top_position, global_account, taker_volume) = 0) STORED
);
CREATE VIEW staging.long_short_ratio_points AS
SELECT s.stage_id, s.source, s.symbol, p.series, s.time, s.time + interval '5 minutes' AS until, s.withheld
FROM staging.long_short_ratio s
CROSS JOIN LATERAL (VALUES ('top_position', s.top_position), ('top_account', s.top_account),
                           ('global_account', s.global_account), ('taker_volume', s.taker_volume)) AS p (series, value)
WHERE p.value IS NOT NULL;

-- Rows come and go in bulk: let autovacuum follow as a net under the VACUUM after each publish.
ALTER TABLE staging.ohlcv SET (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 50000);
ALTER TABLE staging.open_interest SET (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 50000);
ALTER TABLE staging.funding_rate SET (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 50000);
ALTER TABLE staging.long_short_ratio SET (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 50000);
