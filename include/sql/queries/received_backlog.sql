-- How many entries wait to be drained, and how long ago the oldest liquidation among them was received.
SELECT count(*) AS entries, coalesce(now() - staging.from_ms(min(received_ms)), interval '0') AS oldest FROM staging.received
