-- The archive files of a symbol's dataset that had to be left out.
SELECT o.key FROM archive_objects o JOIN symbols s ON s.exchange_symbol = split_part(o.key, '/', 6)
WHERE s.symbol = %(symbol)s AND split_part(o.key, '/', 5) = %(kind)s AND o.verdict NOT IN ('ok', 'accepted')
