-- What fails the suite's expectation of that number: the gate has asked, and kept the answer.
SELECT row_id FROM gate_answers WHERE number = {number}
