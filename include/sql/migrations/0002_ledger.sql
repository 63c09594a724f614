-- The ledger: what is covered, what was loaded, what was read, what was withheld, what was corrected.

CREATE TABLE coverage (
    dataset          text NOT NULL,
    symbol           text NOT NULL,
    series           text NOT NULL,
    available_from   timestamptz,
    available_to     timestamptz,
    evidence         text,
    present          tstzmultirange NOT NULL DEFAULT '{}',
    missing_upstream tstzmultirange NOT NULL DEFAULT '{}',
    quarantined      tstzmultirange NOT NULL DEFAULT '{}',
    listening        tstzmultirange NOT NULL DEFAULT '{}',
    recheck_at       timestamptz,
    updated_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (dataset, symbol, series)
);
COMMENT ON TABLE coverage IS 'One row per series. A gap is the series'' life minus present, missing_upstream and quarantined.';
COMMENT ON COLUMN coverage.available_from IS 'The first instant that any source has, with its evidence beside it.';
COMMENT ON COLUMN coverage.missing_upstream IS 'Every source was asked for these instants and answered without them; asked again at recheck_at.';

CREATE TABLE data_versions (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    batch        text        NOT NULL,
    dataset      text        NOT NULL,
    symbols      text[]      NOT NULL,
    "window"     tstzrange   NOT NULL,
    sources      text[]      NOT NULL,
    staged       bigint      NOT NULL,
    inserted     bigint      NOT NULL,
    updated      bigint      NOT NULL,
    unchanged    bigint      NOT NULL,
    quarantined  bigint      NOT NULL,
    normalised   jsonb       NOT NULL DEFAULT '{}',
    warnings     jsonb       NOT NULL DEFAULT '[]',
    run          text        NOT NULL,
    code_version text        NOT NULL,
    published_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (batch, dataset)
);
CREATE INDEX data_versions_run ON data_versions (run);
COMMENT ON TABLE data_versions IS 'The load log: one row per published batch and dataset.';

CREATE TABLE archive_objects (
    key           text PRIMARY KEY,
    sha256        text,
    etag          text,
    last_modified timestamptz,
    first_label   text,
    last_label    text,
    alignment     text,
    rows          bigint,
    verdict       text        NOT NULL,
    detail        text,
    read_at       timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE archive_objects IS 'One row per archive file read; the key alone is no identity, files are re-issued.';

CREATE TABLE quarantine (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    batch          text        NOT NULL,
    dataset        text        NOT NULL,
    symbol         text        NOT NULL,
    series         text        NOT NULL,
    time           timestamptz,
    expectation    text        NOT NULL,
    "column"       text,
    value          text,
    reason         text        NOT NULL,
    source         text        NOT NULL,
    origin         text,
    row            jsonb       NOT NULL,
    row_hash       bigint      NOT NULL,
    quarantined_at timestamptz NOT NULL DEFAULT now(),
    reviewed_at    timestamptz,
    decision       text,
    note           text,
    UNIQUE NULLS NOT DISTINCT (dataset, symbol, series, time, expectation, row_hash)
);
COMMENT ON TABLE quarantine IS 'Rows that the gate withheld, whole, with the reason. Nothing is ever dropped in silence.';

CREATE TABLE corrections (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset      text        NOT NULL,
    symbol       text        NOT NULL,
    series       text        NOT NULL,
    time         timestamptz NOT NULL,
    old_row      jsonb       NOT NULL,
    new_row      jsonb       NOT NULL,
    reason       text        NOT NULL,
    corrected_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE corrections IS 'Old and new values of rows that a re-issued archive file changed.';
