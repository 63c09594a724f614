-- What is released and not yet published, by review, dataset and month. What somebody has marked by hand has no review, and is
-- nobody's to publish.
SELECT review, dataset, date_trunc('month', time, 'UTC') AS month, min(time) AS first, max(time) AS last, count(*) AS rows,
       array_agg(DISTINCT symbol ORDER BY symbol) AS symbols
FROM quarantine
WHERE decision = 'released' AND settled_at IS NULL AND review IS NOT NULL
  AND (%(reviews)s::text[] IS NULL OR review = ANY (%(reviews)s::text[]))
GROUP BY review, dataset, month
ORDER BY review, dataset, month
