-- The gate knows what people have rejected, as it knows what they have released.

-- It is looked for by the window of a batch, and publishing looks again.
CREATE INDEX quarantine_rejected ON quarantine (dataset, time) WHERE decision = 'rejected';
