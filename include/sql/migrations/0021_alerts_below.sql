-- For how many looks in a row a finding has been better than what its recipient was told: its end is told after some.

ALTER TABLE alerts ADD COLUMN looks_below smallint NOT NULL DEFAULT 0 CHECK (looks_below >= 0);
COMMENT ON COLUMN alerts.looks_below IS 'How many looks in a row have found it better than that, which nobody was told yet.';
