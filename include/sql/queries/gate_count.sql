-- The rows of the batch.
SELECT count(*) AS rows FROM {staging} WHERE stage_id = %(stage_id)s
