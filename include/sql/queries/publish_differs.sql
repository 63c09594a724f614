t.{column} <> {merged}
