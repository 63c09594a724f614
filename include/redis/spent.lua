-- What a process has spent while it could not ask here: counted afterwards, for as long as it still matters.
--
-- KEYS  1 the address's state (hash)  2.. what it has spent of each budget (sorted sets, as in ask.lua)
-- ARGV  the length of each budget's window in ms; then per entry: number of the budget (from 1), weight, how many ms ago

local state, budgets = KEYS[1], #KEYS - 1
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

for i = budgets + 1, #ARGV, 3 do
    local budget, weight, ago = tonumber(ARGV[i]), ARGV[i + 1], tonumber(ARGV[i + 2])
    local window = KEYS[1 + budget]
    redis.call('ZADD', window, now - ago, redis.call('HINCRBY', state, 'asked', 1) .. ':' .. weight)
    redis.call('PEXPIRE', window, ARGV[budget])
end
