-- One publisher per batch; and on a server with compression a publish may touch as many compressed rows as it needs
-- (100,000 by default; without TimescaleDB the setting is a placeholder that does nothing). A staged batch is joined
-- by hashing, in memory: a merge join sorted the rows of the fact table, which made a replay four times slower.
-- The settings are local to the transaction.
SELECT pg_advisory_xact_lock(hashtextextended(%(batch)s, 0)),
       set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true),
       set_config('work_mem', '64MB', true),
       set_config('enable_mergejoin', 'off', true)
