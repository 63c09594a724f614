-- Numbers that are known.
SELECT unnest(%(ids)s::bigint[])
