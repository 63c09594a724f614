-- Somebody has listened, to all contracts at once: the life of such a series begins with the first instant of that.
UPDATE coverage
SET listening      = listening + %(listened)s::tstzmultirange,
    available_from = least(available_from, lower(%(listened)s::tstzmultirange)),
    evidence       = 'the stream was listened to for the first time',
    updated_at     = now()
WHERE dataset = %(dataset)s AND symbol = %(symbol)s AND series = %(series)s AND NOT listening @> %(listened)s::tstzmultirange
