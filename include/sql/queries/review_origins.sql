-- Where the released rows of a batch came from.
SELECT DISTINCT origin FROM quarantine
WHERE review = %(review)s AND dataset = %(dataset)s AND decision = 'released' AND time >= %(start)s AND time < %(end)s
ORDER BY origin
