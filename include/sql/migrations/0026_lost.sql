-- Rows that the table has lost, of which the ledger knows nothing, are asked for again once an audit has missed them.

ALTER TABLE coverage ADD COLUMN lost tstzmultirange NOT NULL DEFAULT '{}';
COMMENT ON COLUMN coverage.lost IS 'What an open finding says the table lacks of present: gaps to who looks for some. Publishing takes out what it asked for.';
