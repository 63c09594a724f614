-- The first rivals, those that the decision would release itself before all; and how many there are of them.
SELECT id, of, is_among, count(*) OVER (PARTITION BY is_among) AS of_all FROM review_rivals ORDER BY is_among DESC, id LIMIT %(most)s
