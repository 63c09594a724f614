"""What one would write first: `python -m benchmarks.plain_stream URL REDIS_URL SECONDS STREAM ...`.

websocket-client, json and redis-py in one loop: a frame, a SET, a PUBLISH. The baseline of `live_stream`.
"""

from __future__ import annotations

import json
import sys
import time

import redis
import websocket

from perpflow.store.latest import CHANNEL


def main(url: str, redis_url: str, seconds: float, streams: list[str]) -> None:
    """Write the last price of every trade until the time is over."""
    client = redis.Redis.from_url(redis_url)
    connection = websocket.create_connection(f"{url}?streams={'/'.join(streams)}")
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        data = json.loads(connection.recv())["data"]
        received_at = time.time_ns() // 1_000_000
        value = {"symbol": data["s"], "at": data["E"], "received_at": received_at, "price": float(data["p"])}
        packed = json.dumps(value)
        client.set(f"plain:{data['s']}", packed, ex=120)
        client.publish(CHANNEL, packed)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4:])
