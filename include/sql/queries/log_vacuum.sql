-- The room of the folded entries serves the next ones, at once; without a transaction.
VACUUM data_versions
