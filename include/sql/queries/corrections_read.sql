-- What sources have changed since they first gave it, the latest correction first.
SELECT corrected_at, dataset, symbol, series, time, old_row, new_row, source, origin, batch
FROM corrections
WHERE dataset = ANY (%(datasets)s) AND (%(symbols)s::text[] IS NULL OR symbol = ANY (%(symbols)s))
  AND (%(start)s::timestamptz IS NULL OR time >= %(start)s)
ORDER BY corrected_at DESC, dataset, symbol, series, time
LIMIT %(most)s
