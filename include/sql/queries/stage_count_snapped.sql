-- How many instants were put on their grid.
SELECT count(*) FROM {staging} WHERE stage_id = %(stage_id)s AND time <> reported_time
