-- Fold the load log's entries of days that have been over for long enough: those of a dataset, a day (UTC) and the same
-- symbols whose windows touch become one, its counts their sums. What was withheld or left out, or came with any other
-- warning, stays as it is. One statement, so that another one at the same time finds nothing left to fold.
WITH old AS (
    SELECT id, "window", sum(apart) OVER (PARTITION BY dataset, day, symbols, sources, code_version ORDER BY lower("window"), id) AS stretch,
           dataset, day, symbols, sources, code_version
    FROM (SELECT *, CASE WHEN lower("window") <= max(upper("window")) OVER before THEN 0 ELSE 1 END AS apart
          FROM (SELECT *, date_trunc('day', published_at, 'UTC') AS day FROM data_versions
                WHERE published_at < date_trunc('day', now() - %(keep)s, 'UTC') AND quarantined = 0 AND warnings = '[]') v
          WINDOW before AS (PARTITION BY dataset, day, symbols, sources, code_version ORDER BY lower("window"), id
                            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)) v
), crowded AS (
    SELECT id, day, first FROM (
        SELECT id, day, min(id) OVER same AS first, count(*) OVER same AS entries FROM old
        WINDOW same AS (PARTITION BY dataset, day, symbols, sources, code_version, stretch)) o
    WHERE entries > 1
), gone AS (
    DELETE FROM data_versions v USING crowded c WHERE v.id = c.id RETURNING v.*, c.day, c.first
), normalised AS (
    SELECT first, jsonb_object_agg(kind, times) AS kinds
    FROM (SELECT g.first, n.key AS kind, sum(n.value::bigint) AS times
          FROM gone g CROSS JOIN jsonb_each_text(g.normalised) n GROUP BY g.first, n.key) k
    GROUP BY first
), folded AS (
    SELECT first, day, dataset, symbols, sources, code_version, max(published_at) AS published_at,
           tstzrange(min(lower("window")), max(upper("window"))) AS "window", sum(batches) AS batches, sum(staged) AS staged,
           sum(inserted) AS inserted, sum(updated) AS updated, sum(corrected) AS corrected, sum(unchanged) AS unchanged
    FROM gone GROUP BY first, day, dataset, symbols, sources, code_version
), written AS (
    INSERT INTO data_versions (batch, dataset, symbols, "window", sources, staged, inserted, updated, corrected, unchanged, quarantined,
                               normalised, run, code_version, published_at, batches)
    SELECT format('folded|%%s|%%s', to_char(day AT TIME ZONE 'UTC', 'YYYY-MM-DD'), first), dataset, symbols, "window", sources, staged, inserted,
           updated, corrected, unchanged, 0, coalesce(kinds, '{{}}'), 'folded', code_version, published_at, batches
    FROM folded LEFT JOIN normalised USING (first)
    RETURNING 1
)
SELECT (SELECT count(*) FROM gone) AS folded, (SELECT count(*) FROM written) AS written
