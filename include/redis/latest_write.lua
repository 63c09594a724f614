-- Merge new values into the latest ones, symbol by symbol, and tell the listeners.
--
-- KEYS  1 the lease's token  2.. the symbols' latest values (msgpack maps)
-- ARGV  1 our token  2 ms after which values that nobody renews are gone  3 channel of the listeners
--       4.. per symbol a msgpack map of groups of values; each group has its event time in `at`, its receipt in `received_at`
-- Gives {-1} where a later writer has taken the lease; else how many groups were taken, and how many were older than what
-- is there.

local latest_token = tonumber(redis.pcall('GET', KEYS[1])) or 0
if latest_token > tonumber(ARGV[1]) then
    return {-1}
end

-- What stands at a key and is none of ours, of whatever type, is written over: it must not hold up the other symbols.
local function values_at(key)
    local packed = redis.pcall('GET', key)
    if type(packed) ~= 'string' then
        return {}
    end
    local is_ours, values = pcall(cmsgpack.unpack, packed)
    return is_ours and type(values) == 'table' and values or {}
end

local function is_newer(news, known)
    return type(known) ~= 'table' or type(known.at) ~= 'number' or known.at <= news.at
end

local taken, older = 0, 0
for i = 2, #KEYS do
    local values, received_at = values_at(KEYS[i]), 0
    local before = taken
    for group, news in pairs(cmsgpack.unpack(ARGV[i + 2])) do
        if type(news) ~= 'table' then
            values[group] = news
        elseif is_newer(news, values[group]) then
            values[group], received_at = news, math.max(received_at, news.received_at)
            taken = taken + 1
        else
            older = older + 1
        end
    end
    if taken > before then
        -- Each group expires by itself: a price must not outlive its time because the mark price is renewed.
        for group, known in pairs(values) do
            if type(known) == 'table'
                and (type(known.received_at) ~= 'number' or known.received_at < received_at - ARGV[2]) then
                values[group] = nil
            end
        end
        local packed = cmsgpack.pack(values)
        redis.call('SET', KEYS[i], packed, 'PX', ARGV[2])
        redis.call('PUBLISH', ARGV[3], packed)
    end
end
return {taken, older}
