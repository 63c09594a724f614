"""Our events have the fields, types and digits of frames that were recorded from the real exchange."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simulator.stream_names import MARKET, PUBLIC
from tests.simulator.stream_clients import Venue

FRAMES = Path(__file__).resolve().parents[3] / "shared/recorded/ws_frames.jsonl"
STREAMS = (
    "btcusdt@aggTrade", "btcusdt@markPrice", "btcusdt@markPrice@1s", "!markPrice@arr@1s", "!forceOrder@arr",
    "btcusdt@forceOrder", "btcusdt@bookTicker",
)  # fmt: skip


def shape(value: Any) -> Any:
    """Names and types, all the way down; of a list those of its first entry."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    return [shape(value[0])] if isinstance(value, list) else type(value)


def ours(name: str) -> dict[str, Any]:
    """The first event of a stream, in its envelope."""
    venue = Venue(liquidations_per_s=30)
    _, wire = venue.connect(name, category=PUBLIC if "book" in name else MARKET, combined=True)
    venue.pass_time(4)
    event: dict[str, Any] = wire.events()[0]
    return event


@pytest.fixture(scope="module")
def recorded() -> list[dict[str, Any]]:
    """The recorded frames that have a stream."""
    if not FRAMES.exists():
        pytest.skip(f"no recorded frames at {FRAMES}")
    frames = [json.loads(line) for line in FRAMES.read_text().splitlines()]
    return [frame for frame in frames if "stream" in frame]


@pytest.mark.parametrize("name", STREAMS)
def test_an_event_looks_like_the_newest_recorded_one(recorded: list[dict[str, Any]], name: str) -> None:
    event = ours(name)
    assert event["stream"] == name
    kind = name.replace("btcusdt", "").replace("!forceOrder@arr", "@forceOrder")
    alike = [frame["data"] for frame in recorded if kind in frame["stream"]]
    newest = max(alike, key=lambda data: (data[0] if isinstance(data, list) else data)["E"])
    assert shape(event["data"]) == shape(newest)
    assert json.dumps(shape(event["data"]), default=str) == json.dumps(shape(newest), default=str), "order of fields"


def test_a_tickers_fields_are_the_documented_ones() -> None:
    fields = ["e", "E", "s", "p", "P", "w", "c", "Q", "o", "h", "l", "v", "q", "O", "C", "F", "L", "n"]
    assert list(ours("ethusdt@ticker")["data"]) == fields
    assert list(ours("!ticker@arr")["data"][0]) == fields
