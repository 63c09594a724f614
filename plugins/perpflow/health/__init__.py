"""Whether everything works: checks of services, exchange, limits and data, for people and for monitors."""
