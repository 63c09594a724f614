-- What a release would publish of a dataset.
SELECT id FROM review_chosen WHERE dataset = %(dataset)s AND (decision IS NULL OR is_stopped)
