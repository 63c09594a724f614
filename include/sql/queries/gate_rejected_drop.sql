-- The next dataset of the transaction has its own.
DROP TABLE gate_rejected
