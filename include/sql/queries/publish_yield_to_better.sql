CASE WHEN source_rank(t.source) > source_rank(%(source)s) THEN coalesce(t.{column}, s.{column}) ELSE coalesce(s.{column}, t.{column}) END
