-- What a batch has carried out of a review. What the gate has withheld for something else waits for that, and no longer for this.
UPDATE quarantine SET settled_at = now()
WHERE review = %(review)s AND dataset = %(dataset)s AND decision = 'released' AND time >= %(start)s AND time < %(end)s
