-- The rows of an attempt.
SELECT count(*) FROM {staging} WHERE stage_id = %(stage_id)s
