-- Record a migration, in its own transaction.
INSERT INTO schema_migrations (tier, name, sha256) VALUES (%(tier)s, %(name)s, %(sha256)s)
