-- What fails in the batch: an address for each row and expectation, in the order of the suite. It is gone with the
-- transaction.
CREATE TEMPORARY TABLE gate_failing (
    address     tid     NOT NULL,
    expectation text    NOT NULL,
    withholds   boolean NOT NULL,
    position    integer NOT NULL GENERATED ALWAYS AS IDENTITY
) ON COMMIT DROP
