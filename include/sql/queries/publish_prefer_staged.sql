coalesce(s.{column}, t.{column}) AS {column}
