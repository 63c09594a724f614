-- Note which symbols an increment takes, so that the others go first the next time.
INSERT INTO turns AS t (dataset, symbol, taken_at)
SELECT %(dataset)s, symbol, %(now)s FROM unnest(%(symbols)s::text[]) AS symbol
ORDER BY symbol
ON CONFLICT (dataset, symbol) DO UPDATE SET taken_at = EXCLUDED.taken_at
