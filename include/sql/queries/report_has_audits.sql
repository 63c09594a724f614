-- Whether there are audits: they came with a later migration than the ledger.
SELECT to_regclass('audit_findings') IS NOT NULL AND to_regclass('verification') IS NOT NULL AS there
