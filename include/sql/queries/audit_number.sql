-- A value, its column's name, and the one of several series in a row that it is of.
({title}, {series}::text, t.{column})
