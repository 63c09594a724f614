-- It would live as long as the session, which may check another batch.
DROP TABLE {table}
