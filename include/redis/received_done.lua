-- Entries that have been drained go, and with them the consumer that held them.
--
-- KEYS  1 the entries (stream)
-- ARGV  1 the group  2 the consumer  3.. ids
-- Gives how many entries went.

local done = 0
for i = 3, #ARGV do
    redis.call('XACK', KEYS[1], ARGV[1], ARGV[i])
    done = done + redis.call('XDEL', KEYS[1], ARGV[i])
end
-- Deleting a consumer forgets what it holds: only one that holds nothing.
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) == 0 then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
end
return done
