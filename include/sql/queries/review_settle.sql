-- What a batch has carried out of a review.
UPDATE quarantine SET settled_at = now()
WHERE review = %(review)s AND dataset = %(dataset)s AND decision = 'released' AND time >= %(start)s AND time < %(end)s
