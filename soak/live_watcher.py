"""Watches the latest values in Redis: of no contract may a group of them ever go back in event time."""

from __future__ import annotations

import time
from collections import deque
from random import Random
from typing import Any

import redis

from perpflow.store.latest import CHANNEL, Latest, decode_latest, latest_key
from soak.chaos import Trouble
from soak.house import House
from soak.tally import Tally

#: `appendfsync everysec`: a Redis that is killed may forget what it took in its last second, and nothing before that.
FORGETS_S = 1.0
STANDING_EVERY_S = 0.5
GROUPS = ("price", "mark", "open_interest")
ANSWERS_WITHIN_S = 5.0

Key = tuple[str, str]


class Newest:
    """The newest event time of each contract and group that was seen in one place, and what was older than it."""

    def __init__(self, place: str) -> None:
        self.seen = 0
        self.faults: list[str] = []
        self._place = place
        self._at: dict[Key, int] = {}
        self._before: deque[tuple[float, dict[Key, int]]] = deque()

    def see(self, latest: Latest, now: float) -> None:
        """A value, at a monotonic second."""
        self._remember(now)
        for group in GROUPS:
            values = getattr(latest, group)
            if values is None:
                continue
            self.seen += 1
            known = self._at.get((latest.symbol, group), 0)
            if values.at < known:
                self.faults.append(
                    f"{self._place}: {latest.symbol} {group} goes back {known - values.at} ms to {values.at}"
                )
            self._at[latest.symbol, group] = max(known, values.at)

    def forget(self, broken_at: float) -> None:
        """Redis was killed: what was seen in its last second may be gone."""
        while self._before and self._before[-1][0] > broken_at - FORGETS_S:
            self._before.pop()
        self._at = dict(self._before[-1][1]) if self._before else {}

    def _remember(self, now: float) -> None:
        if not self._before or now - self._before[-1][0] >= FORGETS_S / 4:
            self._before.append((now, dict(self._at)))
        while now - self._before[0][0] > 10 * FORGETS_S and len(self._before) > 1:
            self._before.popleft()


class LiveWatcher(Trouble):
    """Hears every change on `perpflow:live`, and looks at `perpflow:latest:<symbol>` twice a second."""

    def __init__(self, house: House, tally: Tally, dice: Random) -> None:
        super().__init__(house, tally, dice)
        self.told, self.standing = Newest(CHANNEL), Newest(latest_key("*"))
        self._redis: redis.Redis | None = None
        self._channel: Any = None
        self._looked_at = 0.0

    @property
    def faults(self) -> list[str]:
        """What went back."""
        return [*self.told.faults, *self.standing.faults]

    def strike(self) -> None:
        """One message, and perhaps all that stands."""
        try:
            self._look()
        except (redis.RedisError, OSError):
            if self._redis is not None:
                self.told.forget(time.monotonic())
                self.standing.forget(time.monotonic())
            self._redis = None
            self.wait(0.1)

    def calm_s(self) -> float:
        """None: it waits for messages."""
        return 0.0

    def _look(self) -> None:
        if self._redis is None:
            client = redis.Redis.from_url(self.house.deployment.redis_url or "", socket_timeout=ANSWERS_WITHIN_S)
            self._channel = client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
            self._channel.subscribe(CHANNEL)
            self._redis = client
        message = self._channel.get_message(timeout=STANDING_EVERY_S)
        if message is not None:
            self.told.see(decode_latest(bytes(message["data"])), time.monotonic())
        if time.monotonic() - self._looked_at >= STANDING_EVERY_S:
            self._looked_at = time.monotonic()
            keys: list[bytes] = sorted(self._redis.keys(latest_key("*")))  # type: ignore[arg-type]
            standing: list[Any] = self._redis.mget(keys) if keys else []
            for packed in standing:
                if packed is not None:
                    self.standing.see(decode_latest(packed), time.monotonic())
