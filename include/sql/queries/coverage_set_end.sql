-- The instant from which on no source has anything of a series; null for one whose contract is listed.
UPDATE coverage SET available_to = %(available_to)s
WHERE dataset = %(dataset)s AND symbol = %(symbol)s AND series = %(series)s AND available_to IS DISTINCT FROM %(available_to)s
