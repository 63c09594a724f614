-- The view would live as long as the session, which may check another batch, and hold on to the staging table.
DROP VIEW gate_batch
