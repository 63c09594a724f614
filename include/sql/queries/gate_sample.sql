-- The first few rows that fail an expectation, as text.
SELECT ARRAY(SELECT concat_ws(' ', s.symbol, s.{series}, s.time,
                              (SELECT string_agg(c || '=' || coalesce(to_jsonb(s) ->> c, 'null'), ' ')
                               FROM unnest(%(columns)s::text[]) AS c WHERE c NOT IN ('symbol', %(series)s, 'time')))
             FROM {staging} s
             WHERE s.ctid = ANY (ARRAY(SELECT address FROM gate_failing WHERE expectation = %(expectation)s
                                       ORDER BY address LIMIT {limit}))
             ORDER BY s.ctid) AS sample
