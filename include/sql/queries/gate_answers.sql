-- What fails each expectation that a suite has written in SQL, by its number in the suite; as a table of its own, since
-- PostgreSQL inserts into one that is there by one process only.
CREATE TEMPORARY TABLE gate_answers AS SELECT NULL::integer AS number, NULL::text AS row_id WHERE false {asked}
