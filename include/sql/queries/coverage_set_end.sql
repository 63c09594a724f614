-- The instant from which on no source has anything of a series; null for one whose contract is listed. What is beyond it lacks
-- no more: nobody asks for it again.
UPDATE coverage
SET available_to = %(available_to)s,
    missing_upstream = missing_upstream * tstzmultirange(tstzrange(NULL, %(available_to)s)),
    recheck_at = CASE WHEN missing_upstream && tstzmultirange(tstzrange(NULL, %(available_to)s)) THEN recheck_at END,
    recheck_all_at = CASE WHEN missing_upstream && tstzmultirange(tstzrange(NULL, %(available_to)s)) THEN recheck_all_at END,
    rechecked = rechecked * tstzmultirange(tstzrange(NULL, %(available_to)s))
WHERE dataset = %(dataset)s AND symbol = %(symbol)s AND series = %(series)s AND available_to IS DISTINCT FROM %(available_to)s
