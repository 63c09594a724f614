-- The rows of one series where its timeframe is part of the key.
t.timeframe = {series}