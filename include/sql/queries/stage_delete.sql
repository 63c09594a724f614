-- Remove an attempt's rows.
DELETE FROM {staging} WHERE stage_id = %(stage_id)s
