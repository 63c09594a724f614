-- Count and order-free hash of an attempt's staged rows: publishing compares them with the manifest.
SELECT count(*) AS rows, coalesce(bit_xor(hash_record_extended(s, 0)), 0) AS hash
FROM {staging} s WHERE stage_id = %(stage_id)s
