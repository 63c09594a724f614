-- Windows are looked up one by one through the keys, by LATERAL; all else is joined by hashing, as sessions of ours do: how few
-- rows windows bring the planner can't know. Statements are short: compiling one takes longer than running it.
SELECT set_config('jit', 'off', true), set_config('work_mem', '64MB', true),
       -- A statement whose task was killed must not keep others waiting for their turn.
       set_config('client_connection_check_interval', '2s', true)
