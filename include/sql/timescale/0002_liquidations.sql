-- As the other fact tables. Few rows (some ten thousand a day), but asked for by the same ranges of time.
SELECT create_hypertable('liquidations', by_range('time', interval '30 days'), create_default_indexes => false, migrate_data => true);
