-- What the stream has brought: rows and contracts, by what was closed, and their value in quote.
SELECT count(*) AS rows, count(DISTINCT symbol) AS contracts, count(*) FILTER (WHERE side = 'SELL') AS longs,
       count(*) FILTER (WHERE side = 'BUY') AS shorts, coalesce(sum(average_price * filled_quantity), 0) AS value
FROM liquidations
