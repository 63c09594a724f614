-- When increments that could not take every symbol last took each.
SELECT symbol, taken_at FROM turns WHERE dataset = %(dataset)s AND symbol = ANY (%(symbols)s)
