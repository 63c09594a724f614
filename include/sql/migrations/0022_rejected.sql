-- The gate knows what people have rejected, as it knows what they have released.

-- It is looked for by the window of a batch, and publishing looks again.
CREATE INDEX quarantine_rejected ON quarantine (dataset, time) WHERE decision = 'rejected';

COMMENT ON COLUMN quarantine.settled_at IS 'When the decision was carried out: at once for a rejection; for a release in the transaction of its batch, which published the row, or held it back for what else it fails: that has an entry of its own.';
