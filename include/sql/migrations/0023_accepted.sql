-- Findings that a person has accepted, and what has been told of how far series are verified.

ALTER TABLE audit_findings
    ADD COLUMN accepted_by text,
    ADD COLUMN accepted_at timestamptz,
    ADD COLUMN note        text,
    ADD CONSTRAINT audit_findings_accepted CHECK (
        (accepted_at IS NULL AND accepted_by IS NULL AND note IS NULL)
        OR (accepted_at IS NOT NULL AND accepted_by IS NOT NULL AND note ~ '\S' AND severity = 'warning')
    );
COMMENT ON COLUMN audit_findings.accepted_at IS 'Since when a person has said that it is so and stays so: it is a warning then, as long as its detail is the same.';

CREATE TABLE verification_told (
    dataset    text        NOT NULL,
    symbol     text        NOT NULL,
    series     text        NOT NULL,
    told_until timestamptz NOT NULL,
    PRIMARY KEY (dataset, symbol, series)
);
COMMENT ON TABLE verification_told IS 'The verified_until that the asset of what is verified was last updated with; what differs is still to be told.';
INSERT INTO verification_told SELECT dataset, symbol, series, verified_until FROM verification WHERE verified_until > verified_from;
