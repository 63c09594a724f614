-- The quarantine as it stood at the end of a day, but for what was superseded by then and came again since, by dataset and expectation: rows that wait for a person and since when,
-- and what came in, was released, rejected and superseded on that day.
SELECT dataset, expectation,
       count(*) FILTER (WHERE reviewed_at IS NULL OR reviewed_at >= %(end)s) AS waiting,
       min(quarantined_at) FILTER (WHERE reviewed_at IS NULL OR reviewed_at >= %(end)s) AS since,
       count(*) FILTER (WHERE quarantined_at >= %(start)s) AS arrived,
       count(*) FILTER (WHERE decision = 'released' AND reviewed_at >= %(start)s AND reviewed_at < %(end)s) AS released,
       count(*) FILTER (WHERE decision = 'rejected' AND reviewed_at >= %(start)s AND reviewed_at < %(end)s) AS rejected,
       count(*) FILTER (WHERE decision = 'superseded' AND reviewed_at >= %(start)s AND reviewed_at < %(end)s) AS superseded,
       count(*) FILTER (WHERE decision = 'released' AND reviewed_at < %(end)s) AS released_ever,
       count(*) FILTER (WHERE decision = 'rejected' AND reviewed_at < %(end)s) AS rejected_ever
FROM quarantine
WHERE quarantined_at < %(end)s
GROUP BY dataset, expectation
ORDER BY waiting DESC, dataset, expectation
