-- One entry that the stream received while Redis was away.
INSERT INTO staging.received (frame, received_ms, start_ms, end_ms) VALUES (%(frame)s, %(received_ms)s, %(start_ms)s, %(end_ms)s)
