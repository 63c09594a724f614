-- How far archive and REST agree about what both give: the last comparison of each column of a series.

CREATE TABLE reconciliations (
    dataset      text        NOT NULL,
    symbol       text        NOT NULL,
    series       text        NOT NULL,
    "column"     text        NOT NULL,
    "window"     tstzrange   NOT NULL,
    tolerance    double precision NOT NULL,
    agree        bigint      NOT NULL,
    within       bigint      NOT NULL,
    beyond       bigint      NOT NULL,
    archive_only bigint      NOT NULL,
    rest_only    bigint      NOT NULL,
    sample       jsonb       NOT NULL DEFAULT '[]',
    compared_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (dataset, symbol, series, "column")
);
COMMENT ON TABLE reconciliations IS 'The last comparison of archive and REST. within: they differ by no more than the tolerance; beyond: by more, the first of them in sample.';
