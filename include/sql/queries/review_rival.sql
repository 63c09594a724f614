-- What the same source gave for the same key with other values: of such rows one at most can be right.
r.dataset = q.dataset AND r.symbol = q.symbol AND r.series = q.series AND r.time = q.time AND r.source = q.source
AND r.row_hash <> q.row_hash
AND NOT EXISTS (SELECT FROM unnest(%(key)s::text[]) AS k WHERE r.row ->> k IS DISTINCT FROM q.row ->> k)
