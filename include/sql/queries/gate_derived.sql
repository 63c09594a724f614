-- What a suite derives from a batch, once for all of its expectations; Great Expectations ends transactions as it goes.
CREATE TEMPORARY TABLE {table} AS {rows}
