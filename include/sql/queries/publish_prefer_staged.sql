coalesce(s.{column}, t.{column})
