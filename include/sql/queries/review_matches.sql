-- What a reviewer has chosen: filters, each of which lets everything pass where it is left out; and rows by their numbers,
-- with whatever else the same rows fail.
(%(datasets)s::text[] IS NULL OR q.dataset = ANY (%(datasets)s::text[]))
AND (%(symbols)s::text[] IS NULL OR q.symbol = ANY (%(symbols)s::text[]))
AND (%(expectation)s::text IS NULL OR q.expectation = %(expectation)s::text)
AND (%(since)s::timestamptz IS NULL OR q.quarantined_at >= %(since)s::timestamptz)
AND (%(up_to)s::bigint IS NULL OR q.id <= %(up_to)s::bigint)
AND (%(ids)s::bigint[] IS NULL OR q.id IN (
    SELECT m.id FROM quarantine n JOIN quarantine m USING (dataset, symbol, series, time, row_hash) WHERE n.id = ANY (%(ids)s::bigint[])
    UNION ALL
    SELECT m.id FROM quarantine n JOIN quarantine m USING (dataset, symbol, series, row_hash)
    WHERE n.id = ANY (%(ids)s::bigint[]) AND n.time IS NULL AND m.time IS NULL))
