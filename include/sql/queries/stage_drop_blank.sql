-- Remove rows that hold no point: zero or blank open interest, a metrics row without any ratio.
DELETE FROM {staging} WHERE stage_id = %(stage_id)s AND blank
