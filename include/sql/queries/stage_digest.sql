-- Count and order-free hash of an attempt's staged rows: publishing compares them with the manifest. Of each row what will
-- be published and whether it is withheld; the wire's other columns would double the cost.
SELECT count(*) AS rows, coalesce(bit_xor(hash_record_extended(ROW (s.origin, s.time, s.withheld, {values}), 0)), 0) AS hash
FROM {staging} s WHERE stage_id = %(stage_id)s
