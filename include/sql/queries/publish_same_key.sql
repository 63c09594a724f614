t.{column} = s.{column}
