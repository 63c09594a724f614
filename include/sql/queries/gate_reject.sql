-- What a person has rejected fails what it was rejected for, whatever it is read with.
MERGE INTO gate_failing f
USING (SELECT s.ctid AS address, q.expectation FROM {staging} s JOIN gate_rejected q ON {same_row} WHERE s.stage_id = %(stage_id)s) r
ON f.withholds AND f.address = r.address AND f.expectation = r.expectation
WHEN MATCHED THEN UPDATE SET rejected = true
WHEN NOT MATCHED THEN INSERT (address, expectation, withholds, rejected) VALUES (r.address, r.expectation, true, true)
