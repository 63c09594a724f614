-- How many batches of a run have been published since it was planned.
SELECT count(DISTINCT batch) AS batches FROM data_versions WHERE run = %(run)s AND published_at >= %(since)s
