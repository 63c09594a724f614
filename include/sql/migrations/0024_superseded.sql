-- What a source has answered itself needs no person: a row of the same key that came later and passed.

ALTER TABLE quarantine DROP CONSTRAINT quarantine_decision;
ALTER TABLE quarantine ADD CONSTRAINT quarantine_decision CHECK (
    decision IS NULL OR (decision IN ('released', 'rejected', 'superseded') AND reviewed_at IS NOT NULL AND note ~ '\S')
) NOT VALID;
COMMENT ON COLUMN quarantine.decision IS 'released: this row passes this expectation whenever it is read. rejected: it never does. superseded: nobody decided; the same source, or a better one, gave another row for the key, and that was published. Null: nobody has decided.';

-- Publishing looks for what waits in its window.
CREATE INDEX quarantine_waiting ON quarantine (dataset, time) WHERE decision IS NULL;
