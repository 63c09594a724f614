-- Hypertables by 30 days: a month of 5m candles of 500 symbols is some 4.3 million rows (about 0.9 GB), which fits the
-- cache of a small server; ten years stay below 130 chunks a table, far from the lock table's limit that one-day chunks
-- ran into (1,096 chunks could not be dropped). No time-only index: no query of ours asks without a symbol.
SELECT create_hypertable(t, by_range('time', interval '30 days'), create_default_indexes => false, migrate_data => true)
FROM unnest(ARRAY['ohlcv', 'open_interest', 'funding_rate', 'long_short_ratio']::regclass[]) AS t;
