-- A batch is compared with itself by hashing, in memory: merge joins and sorts of a million staged rows took thrice as long.
-- And by several processes: what fails is little, so that handing it over costs nothing. Staging has no statistics, so the
-- planner can't know.
SELECT set_config('work_mem', '64MB', %(local)s), set_config('enable_mergejoin', 'off', %(local)s),
       set_config('parallel_tuple_cost', '0', %(local)s)
