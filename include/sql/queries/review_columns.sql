-- The columns of a staging table that rows bring with them; the others are generated, or the attempt's own.
SELECT column_name AS name FROM information_schema.columns
WHERE table_schema = 'staging' AND table_name = %(dataset)s AND is_generated = 'NEVER'
  AND column_name NOT IN ('stage_id', 'origin', 'symbol', 'withheld')
ORDER BY ordinal_position
