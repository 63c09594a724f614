-- Collapse exact duplicates. Rows of one key whose values differ all stay, and the gate withholds them all.
WITH repeated AS (
    SELECT {key} FROM {staging} WHERE stage_id = %(stage_id)s GROUP BY {key} HAVING count(*) > 1
), ranked AS (
    SELECT s.ctid, row_number() OVER (PARTITION BY {key}, {values} ORDER BY s.ctid) AS n
    FROM {staging} s JOIN repeated USING ({key}) WHERE s.stage_id = %(stage_id)s
)
DELETE FROM {staging} WHERE ctid = ANY (ARRAY(SELECT ctid FROM ranked WHERE n > 1))
