-- Staged rows that are whole: one per key, because the gate has withheld every conflict.
SELECT {key}, {values}, origin FROM {staging}
WHERE stage_id = %(stage_id)s AND source = {source} AND withheld IS NULL AND time >= %(start)s AND time < %(end)s
