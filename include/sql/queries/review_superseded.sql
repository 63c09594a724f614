-- How many entries wait for nobody any more: their source has given another row for the key.
SELECT count(*) AS entries FROM quarantine q WHERE q.decision = 'superseded' AND {matches}
