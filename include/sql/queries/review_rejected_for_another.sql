-- An entry that was rejected, of a row that is chosen to be released: what is rejected for one thing never passes.
c.decision = 'rejected' AND EXISTS (
    SELECT FROM review_chosen o JOIN quarantine p USING (id)
    WHERE (o.decision IS NULL OR o.is_stopped) AND p.dataset = q.dataset AND p.symbol = q.symbol
      AND p.series = q.series AND p.row_hash = q.row_hash AND p.time IS NOT DISTINCT FROM q.time)
