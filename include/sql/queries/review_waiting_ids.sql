-- What a decision marks: what is chosen and waits for one.
SELECT id FROM review_chosen WHERE decision IS NULL
