-- Append what the stream received to the entries that wait to be drained, all in one step; never more of them than fit.
--
-- KEYS  1 the entries (stream)  2 the last id that the caller was given
-- ARGV  1 most entries  2 id of the caller's last entry, empty if it has none
--       3.. per entry how many names and values it has, then these
-- Gives {id of the last entry now, how many old frames went for lack of room, 1 where the caller's last entry is not known
-- here: the server has lost what it had acknowledged, and the caller has to send it again}.

local entries, most, last = KEYS[1], tonumber(ARGV[1]), ARGV[2]

local function number_of(id)
    local ms, sequence = string.match(id, '^(%d+)%-(%d+)$')
    return tonumber(ms), tonumber(sequence)
end

local function is_below(one, other)
    local ms, sequence = number_of(one)
    local other_ms, other_sequence = number_of(other)
    return ms < other_ms or (ms == other_ms and sequence < other_sequence)
end

-- Drained entries are deleted, and the stream still knows the last id that it gave.
local function last_generated()
    if redis.call('EXISTS', entries) == 0 then
        return '0-0'
    end
    local info = redis.call('XINFO', 'STREAM', entries)
    for i = 1, #info, 2 do
        if info[i] == 'last-generated-id' then
            return info[i + 1]
        end
    end
end

-- Others may have appended since the server came back: what the caller was told itself must still be known.
if last ~= '' and (is_below(last_generated(), last) or redis.call('GET', KEYS[2]) ~= last) then
    return {last, 0, 1}
end

local i = 3
while i <= #ARGV do
    local fields = tonumber(ARGV[i])
    last = redis.call('XADD', entries, '*', unpack(ARGV, i + 1, i + fields))
    i = i + fields + 1
end
if last ~= '' then
    redis.call('SET', KEYS[2], last, 'EX', 86400)
end

local frames, over = 0, redis.call('XLEN', entries) - most
if over > 0 then
    for _, entry in ipairs(redis.call('XRANGE', entries, '-', '+', 'COUNT', over)) do
        for i = 1, #entry[2], 2 do
            if entry[2][i] == 'frame' then
                frames = frames + 1
            end
        end
    end
    redis.call('XTRIM', entries, 'MAXLEN', most)
end
return {last, frames, 0}
