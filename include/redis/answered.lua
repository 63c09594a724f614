-- What became of a request: the host answered, or it did not; what its counter says; whether it holds us back.
--
-- KEYS  1 the address's state (hash)  2 what it has spent of request weight (sorted set)
-- ARGV  1 "alive" or "failed"  2 X-MBX-USED-WEIGHT-1M, -1 without  3 ms for which nobody may ask  4 "banned" or "limited"
--       5 failures in a row that open the circuit  6 ms for which it opens at first  7 ms for which it opens at most
--       8 length of the weight's window in ms
-- Gives {"open", ms} where this failure has opened the circuit, {"closed"} where this answer has closed it, else {}.

local state, window = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function field(name)
    return tonumber(redis.call('HGET', state, name) or 0)
end

local used = tonumber(ARGV[2])
if used >= 0 then
    -- What the exchange counts beyond our own is other people's: it counts at once, and until it must have expired.
    local length, ours = tonumber(ARGV[8]), 0
    for _, entry in ipairs(redis.call('ZRANGEBYSCORE', window, '(' .. (now - length), '+inf')) do
        ours = ours + string.match(entry, ':(%d+)$')
    end
    redis.call('HSET', state, 'others', math.max(used - ours, 0), 'others_until', now + length)
end

local penalty = tonumber(ARGV[3])
if penalty > 0 and now + penalty > field('blocked_until') then
    redis.call('HSET', state, 'blocked_until', now + penalty, 'blocked_by', ARGV[4])
end

local open_until = field('open_until')
if ARGV[1] == 'alive' then
    redis.call('HDEL', state, 'failures', 'open_until', 'open_for', 'probe_until')
    return open_until > 0 and {'closed'} or {}
end
local failures = redis.call('HINCRBY', state, 'failures', 1)
-- Requests that were on their way when the circuit opened fail too; they prove nothing new.
if open_until > now or failures < tonumber(ARGV[5]) then
    return {}
end
local open_for = math.min(open_until > 0 and field('open_for') * 2 or tonumber(ARGV[6]), tonumber(ARGV[7]))
redis.call('HSET', state, 'open_for', open_for, 'open_until', now + open_for, 'probe_until', 0)
return {'open', open_for}
