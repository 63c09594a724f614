-- The review of what is withheld: who decided what in which review, and whether it has been carried out.

ALTER TABLE quarantine
    ADD COLUMN decided_by text,
    ADD COLUMN review     text,
    ADD COLUMN settled_at timestamptz,
    -- Rows that somebody marked by hand before there was a review stay as they are.
    ADD CONSTRAINT quarantine_decision CHECK (
        decision IS NULL OR (decision IN ('released', 'rejected') AND reviewed_at IS NOT NULL AND note ~ '\S')
    ) NOT VALID;
COMMENT ON COLUMN quarantine.decision IS 'released: this row passes this expectation whenever it is read. rejected: it never does. Null: nobody has decided.';
COMMENT ON COLUMN quarantine.review IS 'The review in which it was decided: a run of review_quarantine with its group, or a command.';
COMMENT ON COLUMN quarantine.settled_at IS 'When the decision was carried out: at once for a rejection, in the transaction that published for a release.';

-- What waits is looked for by what it fails; what was released by the gate, for the rows that fail an expectation.
CREATE INDEX quarantine_undecided ON quarantine (dataset, expectation) WHERE decision IS NULL;
CREATE INDEX quarantine_released ON quarantine (dataset, expectation) WHERE decision = 'released';
CREATE INDEX quarantine_unsettled ON quarantine (review) WHERE decision = 'released' AND settled_at IS NULL;
CREATE INDEX quarantine_review ON quarantine (review) WHERE review IS NOT NULL;
