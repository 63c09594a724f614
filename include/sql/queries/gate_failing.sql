-- What fails in the batch: an address for each row and expectation, in the order of the suite; and whether a person has
-- rejected the row for it. It is gone with the transaction.
CREATE TEMPORARY TABLE gate_failing (
    address     tid     NOT NULL,
    expectation text    NOT NULL,
    withholds   boolean NOT NULL,
    rejected    boolean NOT NULL DEFAULT false,
    position    integer NOT NULL GENERATED ALWAYS AS IDENTITY
) ON COMMIT DROP
