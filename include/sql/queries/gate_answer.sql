-- Ask one of them.
UNION ALL SELECT {number}, row_id::text FROM ({rows}) AS f
