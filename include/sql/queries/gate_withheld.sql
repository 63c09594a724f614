-- How many rows each expectation withholds, and how many of them a person has rejected for it.
SELECT expectation, count(*) AS rows, count(*) FILTER (WHERE rejected) AS rejected
FROM gate_failing WHERE withholds GROUP BY expectation
