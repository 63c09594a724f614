-- Ask one of them.
UNION ALL SELECT {number}, row_id FROM ({rows}) AS f
