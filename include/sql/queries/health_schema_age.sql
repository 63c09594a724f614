-- For how long the schema has been as it is: for as long, at least, as the collection has had a place for all that it wants.
SELECT coalesce(now() - max(applied_at), interval '0') AS age FROM schema_migrations
