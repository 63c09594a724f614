-- How many rows each expectation withholds.
SELECT expectation, count(*) AS rows FROM gate_failing WHERE withholds GROUP BY expectation
