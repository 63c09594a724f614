-- Whether a migration ran, and with which text.
SELECT sha256 FROM schema_migrations WHERE tier = %(tier)s AND name = %(name)s
