-- What the loads so far did with the rows they staged, by dataset; what was normalised, by kind.
SELECT v.dataset, sum(v.batches)::bigint AS batches, sum(v.staged)::bigint AS staged, sum(v.inserted)::bigint AS inserted, sum(v.updated)::bigint AS updated,
       sum(v.unchanged)::bigint AS unchanged, sum(v.quarantined)::bigint AS quarantined,
       coalesce((SELECT jsonb_object_agg(kind, times ORDER BY kind)
                 FROM (SELECT n.key AS kind, sum(n.value::bigint) AS times
                       FROM data_versions o CROSS JOIN jsonb_each_text(o.normalised) n WHERE o.dataset = v.dataset GROUP BY n.key) k),
                '{{}}') AS normalised
FROM data_versions v
GROUP BY v.dataset
ORDER BY v.dataset
