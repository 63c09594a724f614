-- What this transaction publishes need not wait any longer.
DELETE FROM staging.received WHERE batch = %(batch)s
