-- How far one series is verified; nothing where nothing of it is.
SELECT verified_until FROM verification
WHERE dataset = %(dataset)s AND symbol = %(symbol)s AND series = %(series)s AND verified_until > verified_from
