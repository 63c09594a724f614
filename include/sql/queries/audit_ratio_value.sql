-- The value of one of several series that share a row.
WHEN {title} THEN t.{column}
