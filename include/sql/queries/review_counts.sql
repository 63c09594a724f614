-- How much is chosen: what waits for a decision, what this review has decided alike and otherwise, and releases that were stopped.
SELECT count(*) AS chosen, count(*) FILTER (WHERE decision IS NULL) AS waiting,
       count(*) FILTER (WHERE review = %(review)s AND decision = %(decision)s) AS ours,
       count(*) FILTER (WHERE is_stopped) AS stopped,
       coalesce(array_agg(DISTINCT review ORDER BY review) FILTER (WHERE is_stopped), '{{}}') AS stopped_reviews,
       coalesce(array_agg(DISTINCT dataset ORDER BY dataset) FILTER (WHERE decision IS NULL OR is_stopped), '{{}}') AS datasets
FROM review_chosen
