-- The rows that have a value of one of several series that share them.
(l.series = {title} AND t.{column} IS NOT NULL)
