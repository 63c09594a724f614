-- The entries that are a batch's now.
SELECT frame, received_ms, start_ms, end_ms FROM staging.received WHERE batch = %(batch)s ORDER BY id
