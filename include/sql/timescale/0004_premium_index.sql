-- As the other fact tables: by 30 days, and no index by time alone.
SELECT create_hypertable('premium_index', by_range('time', interval '30 days'), create_default_indexes => false, migrate_data => true);
