-- What a decision is about, and the rivals of what it releases. Gone with the transaction.
CREATE TEMPORARY TABLE review_chosen (
    id         bigint  PRIMARY KEY,
    dataset    text    NOT NULL,
    decision   text,
    review     text,
    is_stopped boolean NOT NULL,
    is_named   boolean NOT NULL
) ON COMMIT DROP;
CREATE TEMPORARY TABLE review_rivals (
    id         bigint  PRIMARY KEY,
    of         bigint  NOT NULL,
    is_among   boolean NOT NULL,
    is_settled boolean NOT NULL
) ON COMMIT DROP
