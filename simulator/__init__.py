"""A loopback Binance USD-M futures exchange: REST, streams, archive and S3 listing, limits, quirks and faults.

It stands in for the exchange wherever the real one cannot or should not be reached: tests, demo, development.
Its market is synthetic but consistent, computed from a seed and addressable by symbol and day, so any range of any
year is served without storage; `simulator.truth` computes what a correct collector would have stored.
Times on the wire are integer milliseconds UTC; see `simulator.quirks` for the oddities it reproduces and where.
"""
