-- How many rows a review has decided about; none where it has not been recorded.
SELECT count(*) AS rows FROM quarantine WHERE review = %(review)s AND decision = %(decision)s
