-- What the audits have looked at since it was published, what they dispute, and how far a series is verified.

ALTER TABLE coverage
    ADD COLUMN audited         tstzmultirange NOT NULL DEFAULT '{}',
    ADD COLUMN disputed        tstzmultirange NOT NULL DEFAULT '{}',
    ADD COLUMN unaudited_since timestamptz;
COMMENT ON COLUMN coverage.audited IS 'What the audits have looked at since its rows last changed; publishing takes out what it changes.';
COMMENT ON COLUMN coverage.disputed IS 'What critical findings of audits are about, as long as they are open; see audit_findings.';
COMMENT ON COLUMN coverage.unaudited_since IS 'Since when something of present waits for its audits; null where nothing does.';
UPDATE coverage SET unaudited_since = now() WHERE NOT isempty(present);

CREATE TABLE audit_findings (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    audit       text        NOT NULL,
    dataset     text        NOT NULL,
    symbol      text        NOT NULL,
    series      text        NOT NULL,
    "window"    tstzrange   NOT NULL,
    severity    text        NOT NULL CHECK (severity IN ('critical', 'warning')),
    "column"    text        NOT NULL,
    detail      jsonb       NOT NULL DEFAULT '{}',
    found_at    timestamptz NOT NULL DEFAULT now(),
    resolved_at timestamptz
);
CREATE UNIQUE INDEX audit_findings_open ON audit_findings (audit, dataset, symbol, series, "window", "column") WHERE resolved_at IS NULL;
CREATE INDEX audit_findings_disputing ON audit_findings (dataset, symbol, series) WHERE resolved_at IS NULL AND severity = 'critical';
COMMENT ON TABLE audit_findings IS 'What audits of published rows have found. A finding that a later look does not make again is resolved, and stays.';

CREATE VIEW verification AS
SELECT dataset, symbol, series, lower(covered) AS verified_from,
       coalesce(lower(tstzmultirange(covered) - good), upper(covered)) AS verified_until, upper(covered) AS covered_until
FROM (SELECT dataset, symbol, series, range_merge(present + missing_upstream + quarantined) AS covered,
             present * audited + missing_upstream + quarantined - disputed AS good
      FROM coverage) c
WHERE NOT isempty(covered);
COMMENT ON VIEW verification IS 'From verified_from to verified_until everything is present and audited without dispute, or its absence is explained. Where both are the same nothing is.';
