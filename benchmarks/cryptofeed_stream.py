"""cryptofeed to Redis: `PYTHON -m benchmarks.cryptofeed_stream REST_URL STREAM_URL REDIS_URL INTERVAL SYMBOL ...`.

Its own BinanceFutures, Redis backend and feed handler, told other addresses and nothing else. Of its two Redis
backends for trades it is the one that listeners can follow: a Redis Stream of each contract. A baseline of
`live_stream`, in an interpreter of its own: its requirements would clash with Airflow's, and it wants a newer Python.
So this file imports nothing but Python's own, and cryptofeed by name.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

#: The interpreter that has it: the variable's, or else the one that `INSTALL` makes.
INTERPRETER = os.environ.get("CRYPTOFEED_PYTHON") or str(Path(sys.prefix, "cryptofeed", "bin", "python"))
INSTALL = (
    ".venv/bin/uv venv --python 3.13 .venv/cryptofeed && "
    ".venv/bin/uv pip install --python .venv/cryptofeed 'cryptofeed[redis]>=3'"
)
#: Older ones connect to the path on which the exchange acknowledges trades and never sends any (their issue 1128).
FIRST_ROUTED = 3

_VERSION = "import cryptofeed.backends.redis; from importlib.metadata import version; print(version('cryptofeed'))"


def usable_version() -> str | None:
    """Its version, e.g. 3.0.1; None, after saying why, where there is none that receives trades."""
    try:
        asked = subprocess.run([INTERPRETER, "-c", _VERSION], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        print(f"cryptofeed is not installed: left out. To install it: {INSTALL}", file=sys.stderr)
        return None
    version = asked.stdout.strip()
    if int(version.partition(".")[0]) < FIRST_ROUTED:
        print(f"cryptofeed {version} gets no trades from the exchange: left out. Newer: {INSTALL}", file=sys.stderr)
        return None
    return version


def stream_key(symbol: str) -> str:
    """Where it appends the trades of a contract, given as e.g. SOL/USDT."""
    return f"trades-BINANCE_FUTURES-{_normalized(symbol)}"


def instants(number: bytes, entry: Mapping[bytes, bytes]) -> tuple[int, int]:
    """When a trade was received, by cryptofeed's clock, and when it was appended, by Redis's (ms UTC)."""
    return int(1000 * float(entry[b"receipt_timestamp"])), int(number.partition(b"-")[0])


def main(rest_url: str, stream_url: str, redis_url: str, batch_interval_s: str, symbols: Sequence[str]) -> None:
    """Append every trade until it is killed; an interval that is empty is cryptofeed's own."""
    options = {"batch_interval": float(batch_interval_s)} if batch_interval_s else {}
    trades = import_module("cryptofeed.backends.redis").TradeStream(**options)
    # Its constructor knows no password.
    trades.redis = redis_url
    # Without a name its log would be a file in the working directory.
    handler = import_module("cryptofeed").FeedHandler(config={"log": {"filename": ""}})
    feed = _simulated(rest_url, stream_url)
    handler.add_feed(feed(symbols=[*map(_normalized, symbols)], channels=["trades"], callbacks={"trades": trades}))
    handler.run()


def _simulated(rest_url: str, stream_url: str) -> Any:
    """The exchange's class with other addresses."""
    original = import_module("cryptofeed.exchanges").BinanceFutures
    (stream,), (rest,) = original.websocket_endpoints, original.rest_endpoints

    class Simulated(original):  # type: ignore[misc, valid-type]
        # It takes none but wss:// addresses, and so they are put right before they are connected to.
        websocket_endpoints = (replace(stream, address=stream_url.replace("ws://", "wss://", 1)),)
        rest_endpoints = (replace(rest, address=rest_url),)

        def connect(self) -> Any:
            made = super().connect()
            for connection, *_ in made:
                connection.address = connection.address.replace("wss://", "ws://", 1)
            return made

    return Simulated


def _normalized(symbol: str) -> str:
    return f"{symbol.replace('/', '-')}-PERP"


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5:])
