-- The view lives as long as the session, which may check another batch.
DROP VIEW IF EXISTS pg_temp.gate_batch
