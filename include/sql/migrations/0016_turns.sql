-- Whose turn it was: where the exchange's limits do not let an increment ask for every symbol, those go first that have
-- waited longest, whether or not anything has come of the last time.

CREATE TABLE turns (
    dataset  text        NOT NULL,
    symbol   text        NOT NULL,
    taken_at timestamptz NOT NULL,
    PRIMARY KEY (dataset, symbol)
);
COMMENT ON TABLE turns IS 'When an increment that could not take every symbol last took this one, on the exchange''s clock.';
