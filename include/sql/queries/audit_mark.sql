-- Say what has been looked at. The caller holds the series' locks, and what they say is what it has looked at.
UPDATE coverage c
SET audited = c.audited + c.present * l.windows,
    unaudited_since = CASE WHEN NOT c.audited + c.present * l.windows @> c.present THEN c.unaudited_since END
FROM unnest(%(symbols)s::text[], %(windows)s::tstzmultirange[]) AS l (symbol, windows)
WHERE c.dataset = %(dataset)s AND c.symbol = l.symbol AND (c.unaudited_since IS NOT NULL OR NOT c.audited @> c.present * l.windows)
