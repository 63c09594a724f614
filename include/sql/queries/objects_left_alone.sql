-- Archive files that were left out so often that they are left alone, or were accepted as they are.
SELECT key, verdict FROM archive_objects WHERE verdict <> 'ok' AND attempts >= %(most)s
