-- Take the stream's lease, whoever has it: the newest holder is the one that writes.
--
-- KEYS  1 the lease (hash)
-- ARGV  1 name of the new holder  2 ms after which a lease that nobody renews says nothing any more
-- Gives the fencing token, greater than any before: the time, so that it is greater also where Redis has lost its data.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local before = tonumber(redis.pcall('GET', KEYS[1] .. ':token')) or 0
local token = string.format('%.0f', math.max(before + 1, time[1] * 1000000 + time[2]))
redis.call('SET', KEYS[1] .. ':token', token)
-- What stands there may be none of ours, of whatever type.
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'token', token, 'holder', ARGV[1], 'taken_at', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return token
