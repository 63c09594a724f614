-- Numbers of no chosen entry.
SELECT n AS id FROM unnest(%(ids)s::bigint[]) AS n WHERE NOT EXISTS (SELECT FROM review_chosen c WHERE c.id = n) ORDER BY n LIMIT %(most)s
