"""The command: one JSON line, a clock that runs or stands, a clean stop."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from simulator.__main__ import arguments, build
from simulator.clock import Clock
from simulator.exchange import synthetic
from simulator.process import running
from simulator.server import serving

ROOT = Path(__file__).resolve().parents[2]


def test_it_says_where_it_listens_and_stops_on_sigterm() -> None:
    command = [sys.executable, "-m", "simulator", "--port", "0", "--now", "2024-02-03T04:05:06", "--seed", "5"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        assert said["now"].startswith("2024-02-03T04:05:06")
        assert said["now"].endswith("Z")
        assert said["seed"] == 5
        assert httpx.get(f"{said['url']}/fapi/v1/ping").status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert process.stdout.read() == ""


@pytest.mark.parametrize("wrong", [["--fault", "nothing"], ["--now", "soon"], ["--fault", "status,503"]])
def test_bad_usage_exits_2_and_says_why(wrong: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "simulator", *wrong], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("simulator: ")


def test_the_clock_runs_at_real_speed_unless_frozen() -> None:
    seconds = iter([0.0, 1.5, 10.0, 12.0])
    clock = Clock(1000, monotonic=lambda: next(seconds))
    assert clock.now() == 2500
    clock.move(5000)
    assert clock.now() == 7000
    assert Clock(1000, frozen=True).now() == 1000


def test_a_frozen_exchange_moves_when_told() -> None:
    with running(now="2026-01-01", frozen=True) as handle, httpx.Client(base_url=handle.url) as http:
        before = http.get("/fapi/v1/time").json()["serverTime"]
        assert http.get("/fapi/v1/time").json()["serverTime"] == before
        handle.set_now("2026-01-02T00:00:00Z")
        assert http.get("/fapi/v1/time").json()["serverTime"] == before + 86_400_000


async def test_it_serves_inside_a_running_loop() -> None:
    async with (
        serving(synthetic(1, Clock(1_790_000_000_000, frozen=True))) as url,
        httpx.AsyncClient(base_url=url) as http,
    ):
        answers = await asyncio.gather(*(http.get("/fapi/v1/time") for _ in range(5)))
        assert {answer.json()["serverTime"] for answer in answers} == {1_790_000_000_000}


def test_options_reach_the_exchange() -> None:
    exchange = build(arguments(["--seed", "9", "--frozen", "--no-quirks", "--fault", "latency,ms=5"]))
    assert (exchange.seed, exchange.clock.frozen, exchange.quirks) == (9, True, ())
    assert exchange.faults.list() == [{"kind": "latency", "ms": "5", "id": 1, "struck": 0}]


def test_contracts_are_invented_until_so_many_perpetuals_are_listed() -> None:
    def perpetuals(http: httpx.Client) -> list[str]:
        listed = http.get("/fapi/v1/exchangeInfo").json()["symbols"]
        return [entry["symbol"] for entry in listed if entry["contractType"].endswith("PERPETUAL")]

    with running() as few, httpx.Client(base_url=few.url) as http:
        before = perpetuals(http)
    with running(symbols=60) as many, httpx.Client(base_url=many.url) as http:
        after = perpetuals(http)
        invented = after[-1]
        candles = http.get("/fapi/v1/klines", params={"symbol": invented, "interval": "5m", "limit": 3}).json()
        ratios = http.get("/futures/data/topLongShortAccountRatio", params={"symbol": invented, "period": "5m"}).json()
        archived = http.get(f"/data/futures/um/daily/metrics/{invented}/{invented}-metrics-2026-10-01.zip")
    assert len(after) == len(set(after)) == 60
    assert after[: len(before)] == before
    assert len(candles) == 3
    assert ratios
    assert archived.status_code == 200


def test_it_says_how_much_of_a_core_it_has_taken() -> None:
    with running() as handle, httpx.Client(base_url=handle.url) as http:
        before = handle.cpu_s()
        while handle.cpu_s() == before:
            http.get("/fapi/v1/exchangeInfo")
        assert handle.cpu_s() > before > 0


def test_exchange_info_announces_the_weight_that_it_is_told_to() -> None:
    def announced(http: httpx.Client) -> int:
        limits = http.get("/fapi/v1/exchangeInfo").json()["rateLimits"]
        return next(int(limit["limit"]) for limit in limits if limit["rateLimitType"] == "REQUEST_WEIGHT")

    with running() as handle, httpx.Client(base_url=handle.url) as http:
        assert announced(http) == 2400
        handle.set_limits(weight=5000)
        assert announced(http) == 2400
        handle.set_limits(announced=5000)
        assert announced(http) == 5000
