-- The rivals that a release rejects at once; what may be published is rejected by what replaces it.
SELECT id FROM review_rivals WHERE NOT is_settled
