-- Archive files that were left out so often that they are left alone, or were accepted as they are. What the labels of one mean
-- another file decides, which may have come since: after a day it may be tried again.
SELECT key, verdict FROM archive_objects
WHERE verdict <> 'ok' AND attempts >= %(most)s AND (verdict <> 'ambiguous labels' OR read_at > now() - interval '1 day')
