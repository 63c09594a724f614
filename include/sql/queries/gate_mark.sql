-- Withhold every row that fails a critical expectation, all of them written into it.
UPDATE {staging} s SET withheld = f.expectations
FROM (SELECT address, array_agg(expectation ORDER BY position) AS expectations
      FROM gate_failing WHERE withholds GROUP BY address) f
WHERE s.ctid = f.address
