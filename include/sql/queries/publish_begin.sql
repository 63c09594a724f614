-- One publisher per batch; and on a server with compression a publish may touch as many compressed rows as it needs
-- (100,000 by default; without TimescaleDB the setting is a placeholder that does nothing). A staged batch is sorted and
-- joined in memory, not on disk. The settings are local to the transaction.
SELECT pg_advisory_xact_lock(hashtextextended(%(batch)s, 0)),
       set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true),
       set_config('work_mem', '64MB', true)
