-- The series' row locks, in key order: publishers of one series follow one another, and never deadlock.
SELECT 1 FROM coverage WHERE dataset = %(dataset)s AND symbol = ANY (%(symbols)s) ORDER BY dataset, symbol, series FOR UPDATE
