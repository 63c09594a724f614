-- What fails an expectation about the batch as a whole.
SELECT row_id FROM gate_batch
