-- What an expectation was about whose rows were rejected: the suite may not have it any more.
SELECT min("column") AS "column", min(reason) AS reason FROM gate_rejected WHERE expectation = %(expectation)s
