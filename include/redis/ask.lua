-- May a request be sent now? If so it is counted at once, so that no two processes can both take the last of a budget.
--
-- KEYS  1 the address's state (hash)  2 what it has spent of this kind (sorted set: milliseconds, "<number>:<weight>")
-- ARGV  1 kind of budget, empty for requests that cost nothing  2 weight  3 the exchange's limit unless it announced another
--       4 the part of it that the caller may use  5 length of the window in ms
--       6 the part of the limit that everybody on the address may have used  7 ms that a probe of a broken host may take
--       8 ms after which whoever waits for one looks again
-- Gives {"go"}, or what stands against it and for how many ms: {"budget" | "banned" | "limited" | "open" | "probing", ms},
-- or {"never", most} where the weight alone exceeds what the caller may spend.
--
-- The clock is this server's, the only one that all processes share.

local state, window = KEYS[1], KEYS[2]
local kind, weight, length = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[5])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function field(name)
    return tonumber(redis.call('HGET', state, name) or 0)
end

local blocked_until = field('blocked_until')
if blocked_until > now then
    return {redis.call('HGET', state, 'blocked_by'), blocked_until - now}
end

local open_until = field('open_until')
if open_until > now then
    return {'open', open_until - now}
end
if open_until > 0 and field('probe_until') > now then
    return {'probing', math.min(field('probe_until') - now, tonumber(ARGV[8]))}
end

if kind ~= '' then
    local whole = tonumber(redis.call('HGET', state, 'limit:' .. kind) or ARGV[3])
    local most = math.floor(whole * ARGV[4])
    if weight > most then
        return {'never', most}
    end
    redis.call('ZREMRANGEBYSCORE', window, '-inf', now - length)
    local entries, spent = redis.call('ZRANGE', window, 0, -1, 'WITHSCORES'), 0
    for i = 1, #entries, 2 do
        spent = spent + string.match(entries[i], ':(%d+)$')
    end

    -- Milliseconds until so much has left the window that the weight fits below a ceiling.
    local function wait_below(ceiling)
        local excess = spent + weight - ceiling
        for i = 1, #entries, 2 do
            if excess <= 0 then
                break
            end
            excess = excess - string.match(entries[i], ':(%d+)$')
            if excess <= 0 then
                return entries[i + 1] + length - now
            end
        end
        return excess <= 0 and 0 or length
    end

    local wait = wait_below(most)
    local others_for = field('others_until') - now
    if kind == 'weight' and others_for > 0 and field('others') > 0 then
        wait = math.max(wait, math.min(wait_below(math.floor(whole * ARGV[6]) - field('others')), others_for))
    end
    if wait > 0 then
        return {'budget', math.ceil(wait)}
    end
    redis.call('ZADD', window, now, redis.call('HINCRBY', state, 'asked', 1) .. ':' .. weight)
    redis.call('PEXPIRE', window, length)
end

if open_until > 0 then
    redis.call('HSET', state, 'probe_until', now + ARGV[7])
end
return {'go', 0}
