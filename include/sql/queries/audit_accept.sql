-- A person says that open findings are so and stay so; those that were accepted before keep who did it.
UPDATE audit_findings SET severity = 'warning', accepted_by = %(person)s, accepted_at = now(), note = %(note)s
WHERE id = ANY (%(ids)s) AND resolved_at IS NULL AND severity = 'critical'
RETURNING id, dataset, symbol
