-- What fails each expectation that a suite has written in SQL, by its number in the suite.
CREATE TEMPORARY TABLE gate_answers (number integer NOT NULL, row_id text)
