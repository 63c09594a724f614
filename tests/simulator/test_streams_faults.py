"""Each fault of streams does what it says, on what it names, over real sockets."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from simulator.exchange import Exchange
from tests.simulator.stream_clients import Venue, ask, client, end, event, until_nothing_comes

TRADES = "/market/ws/btcusdt@aggTrade"


async def test_silence_after_acknowledgement_of_one_kind_of_stream(url: str, exchange: Exchange) -> None:
    number = exchange.faults.add({"kind": "ws_silence", "match": "@aggTrade"})
    async with client(url, "/market/stream") as socket:
        assert (await ask(socket, "SUBSCRIBE", ["btcusdt@aggTrade", "btcusdt@markPrice@1s"]))["result"] is None
        assert (await event(socket))["stream"] == "btcusdt@markPrice@1s"
        exchange.faults.remove(number)
        assert (await event(socket))["stream"] == "btcusdt@aggTrade"


async def test_a_half_open_connection_neither_speaks_nor_listens_nor_ends(url: str, exchange: Exchange) -> None:
    exchange.streams.change_settings({"ping_s": 0.1, "pong_timeout_s": 0.2, "lifetime_s": 1})
    async with client(url, TRADES, autoping=False) as socket:
        await event(socket)
        number = exchange.faults.add({"kind": "ws_half_open"})
        while not exchange.faults.list()[0]["struck"]:
            await asyncio.sleep(0.01)
        exchange.faults.remove(number)
        while exchange.streams.report()["now_s"] < 1.2:  # type: ignore[operator]
            await asyncio.sleep(0.05)
        await socket.ping()
        with pytest.raises(asyncio.TimeoutError):
            await until_nothing_comes(socket)
        (known,) = exchange.streams.report()["connections"]  # type: ignore[misc]
        assert (known["stalled"], known["closed_s"]) == (True, None)
        assert exchange.streams.drop() == 1


async def test_garbage_is_no_json_and_the_next_event_is_whole(url: str, exchange: Exchange) -> None:
    exchange.faults.add({"kind": "ws_garbage", "times": 1})
    async with client(url, TRADES) as socket:
        with pytest.raises(json.JSONDecodeError):
            await socket.receive_json(timeout=5)
        assert (await event(socket))["e"] == "aggTrade"


async def test_a_frame_is_cut_in_the_middle_by_a_reset(url: str, exchange: Exchange) -> None:
    exchange.faults.add({"kind": "ws_cut", "times": 1})
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write(
        f"GET {TRADES} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    assert b"101 " in await reader.readuntil(b"\r\n\r\n")
    got = await asyncio.wait_for(reader.read(1000), 5)
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(1), 5)
    writer.close()
    opcode, promised = got[0] & 0x0F, int.from_bytes(got[2:4], "big")
    assert (opcode, got[1]) == (1, 126)
    assert 0 < len(got) - 4 < promised
    (known,) = exchange.streams.report()["connections"]  # type: ignore[misc]
    assert known["reason"] == "ws_cut"


async def test_a_duplicate_is_the_same_event_again(url: str, exchange: Exchange) -> None:
    exchange.faults.add({"kind": "ws_duplicate", "times": 1})
    async with client(url, TRADES) as socket:
        first, second, third = [await event(socket) for _ in range(3)]
        assert first == second
        assert third["a"] == first["a"] + 1


async def test_an_event_out_of_order_comes_after_the_next(url: str, exchange: Exchange) -> None:
    exchange.faults.add({"kind": "ws_out_of_order", "times": 1})
    async with client(url, TRADES) as socket:
        first, second, third = [(await event(socket))["a"] for _ in range(3)]
        assert (second, third) == (first - 1, first + 1)


@pytest.mark.parametrize("code", [403, 418, 503])
async def test_a_status_refuses_the_handshake(url: str, exchange: Exchange, code: int) -> None:
    exchange.faults.add({"kind": "status", "code": code, "match": "/market/", "times": 1})
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await client(url, TRADES).__aenter__()
    assert refused.value.status == code
    async with client(url, TRADES) as socket:
        assert (await event(socket))["e"] == "aggTrade"


async def test_faults_of_bodies_leave_handshakes_alone(url: str, exchange: Exchange) -> None:
    exchange.faults.add({"kind": "truncated_body", "times": 1})
    async with client(url, TRADES) as socket:
        assert (await event(socket))["e"] == "aggTrade"
    assert [fault["struck"] for fault in exchange.faults.list()] == [0]


async def test_a_handshake_can_be_reset(url: str, exchange: Exchange) -> None:
    exchange.faults.add({"kind": "reset", "match": "/market/"})
    with pytest.raises(aiohttp.ClientConnectionError):
        await client(url, TRADES).__aenter__()
    assert exchange.streams.report()["total"] == 0


async def test_connections_are_dropped_by_what_they_listen_to(url: str, exchange: Exchange) -> None:
    async with client(url, TRADES) as dropped, client(url, "/public/ws/btcusdt@bookTicker") as kept:
        await event(dropped)
        await event(kept)
        assert exchange.streams.drop("@aggTrade") == 1
        while not dropped.closed:
            await dropped.receive(timeout=5)
        assert dropped.close_code == 1006
        assert (await event(kept))["e"] == "bookTicker"
        assert exchange.streams.drop("", reset=False) == 1
        assert (await end(kept)).data == 1001


def test_the_log_of_liquidations_counts_only_whom_an_event_reached() -> None:
    venue = Venue(liquidations_per_s=20)
    heard, _ = venue.connect("!forceOrder@arr")
    _, silent = venue.connect("!forceOrder@arr", combined=True)
    venue.faults.add({"kind": "ws_silence", "match": "/market/stream"})
    venue.pass_time(10)
    log: Any = venue.hub.liquidations.report()["liquidations"]
    assert {tuple(entry["connections"]) for entry in log} == {(heard.number,)}
    assert silent.events() == []
