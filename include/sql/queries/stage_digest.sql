-- Count and order-free hash of an attempt's staged rows: publishing compares them with the manifest. What is verified is
-- that the rows are there (a crash empties staging) and marked as the gate marked them; an attempt's values never change,
-- and hashing them too would triple the cost. Not grouped by source: without statistics PostgreSQL would sort for that.
SELECT count(*) AS rows, count(withheld) AS withheld,
       coalesce(bit_xor(hash_record_extended(ROW (s.origin, s.time, s.withheld), 0)), 0) AS hash,
       array_remove(ARRAY[CASE WHEN bool_or(source = 'archive') THEN 'archive' END,
                          CASE WHEN bool_or(source = 'rest') THEN 'rest' END,
                          CASE WHEN bool_or(source = 'stream') THEN 'stream' END], NULL) AS sources
FROM {staging} s WHERE stage_id = %(stage_id)s
