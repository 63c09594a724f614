max({column}) AS {column}
