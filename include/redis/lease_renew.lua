-- Keep the lease while nobody else has taken it.
--
-- KEYS  1 the lease (hash)
-- ARGV  1 our token  2 our name  3 ms for which it holds from now
-- Gives 1 while it is ours, also where it had run out and nobody has taken another; 0 once somebody has.

local token = tonumber(redis.pcall('GET', KEYS[1] .. ':token')) or 0
if token > tonumber(ARGV[1]) then
    return 0
end
-- A Redis that has lost its data has no token either: ours counts on.
redis.call('SET', KEYS[1] .. ':token', ARGV[1])
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then
    redis.call('DEL', KEYS[1])
end
redis.call('HSET', KEYS[1], 'token', ARGV[1], 'holder', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
