-- Of what was told and is verified no longer nobody is told here; but it is told again as soon as it is verified anew.
UPDATE verification_told t SET told_until = v.verified_until
FROM verification v
WHERE (v.dataset, v.symbol, v.series) = (t.dataset, t.symbol, t.series) AND v.verified_until < t.told_until
