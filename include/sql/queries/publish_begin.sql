-- One publisher per batch; and on a server with compression a publish may touch as many compressed rows as it needs
-- (100,000 by default). The setting is local to the transaction; without TimescaleDB it is a placeholder that does nothing.
SELECT pg_advisory_xact_lock(hashtextextended(%(batch)s, 0)),
       set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true)
