-- Ask one of them.
INSERT INTO gate_answers SELECT {number}, row_id FROM ({rows}) AS f
