-- Forget an earlier check of the same batch.
UPDATE {staging} SET withheld = NULL WHERE stage_id = %(stage_id)s AND withheld IS NOT NULL
