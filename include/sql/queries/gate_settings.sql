-- A batch is compared with itself by hashing, in memory: merge joins and sorts of a million staged rows took thrice as long.
-- Staging has no statistics, so the planner can't know.
SELECT set_config('work_mem', '64MB', %(local)s), set_config('enable_mergejoin', 'off', %(local)s)
