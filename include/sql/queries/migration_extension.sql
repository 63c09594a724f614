-- Fact tables become hypertables with it. It is trusted: whoever may create in the database may create it.
CREATE EXTENSION IF NOT EXISTS timescaledb
