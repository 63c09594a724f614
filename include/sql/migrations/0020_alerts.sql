-- Who was told what last, so that what stays wrong is not told every few minutes.

CREATE TABLE alerts (
    recipient text        NOT NULL,
    finding   text        NOT NULL,
    level     text        NOT NULL CHECK (level IN ('green', 'yellow', 'red')),
    since     timestamptz NOT NULL,
    told_at   timestamptz NOT NULL,
    PRIMARY KEY (recipient, finding)
);
COMMENT ON TABLE alerts IS 'What each recipient of alerts was told last of each finding of health: its level, since when it is so, and when that was told. Green: told that it is over.';
