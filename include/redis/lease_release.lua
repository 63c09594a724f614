-- Give the lease up, if it is still ours; the token stays, so that we cannot write any more once somebody else does.
--
-- KEYS  1 the lease (hash)
-- ARGV  1 our token

if redis.call('HGET', KEYS[1], 'token') == ARGV[1] then
    return redis.call('DEL', KEYS[1])
end
return 0
