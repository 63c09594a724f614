-- Of quarantined rows those whose key is published: from which source, and whether a release would replace it, which has other
-- values of the same source.
SELECT q.id, t.source, t.source = q.source AND EXISTS (
           SELECT FROM unnest(%(values)s::text[]) AS v WHERE to_jsonb(t) ->> v <> q.row ->> v) AS is_other
FROM quarantine q JOIN {target} t ON t.symbol = q.symbol AND t.time = q.time AND {in_series}
WHERE q.id IN ({ids}) AND NOT EXISTS (SELECT FROM unnest(%(key)s::text[]) AS k WHERE to_jsonb(t) ->> k IS DISTINCT FROM q.row ->> k)
