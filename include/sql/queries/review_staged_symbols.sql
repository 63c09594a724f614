-- The symbols of an attempt's rows.
SELECT DISTINCT symbol FROM {staging} WHERE stage_id = %(stage_id)s ORDER BY symbol
