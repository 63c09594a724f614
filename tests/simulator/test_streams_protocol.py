"""Streams over real sockets: addresses, requests and their errors, rates, ends, and the controls."""

from __future__ import annotations

import asyncio
from urllib.error import HTTPError

import aiohttp
import httpx
import pytest

from simulator.__main__ import arguments, build
from simulator.exchange import Exchange
from simulator.process import Handle
from simulator.server import serving
from tests.simulator.stream_clients import answer, ask, client, end, event


@pytest.mark.parametrize("path", ["/market/ws/btcusdt@aggTrade/ethusdt@aggTrade", "/public/ws/btcusdt@bookTicker"])
async def test_streams_in_a_path_come_raw(url: str, path: str) -> None:
    async with client(url, path) as socket:
        assert (await event(socket))["s"] == "BTCUSDT"


@pytest.mark.parametrize("path", ["/market/stream?streams=ethusdt@aggTrade/币安人生usdt@aggTrade",
                                  "/public/stream?streams=ethusdt@bookTicker"])  # fmt: skip
async def test_streams_in_a_query_come_in_an_envelope(url: str, path: str) -> None:
    async with client(url, path) as socket:
        told = await event(socket)
        assert told["stream"].split("@")[0] == told["data"]["s"].lower() == "ethusdt"


@pytest.mark.parametrize(("path", "method"), [("/ws", "SUBSCRIBE"), ("/stream", "SUBSCRIBE")])
async def test_legacy_addresses_acknowledge_everything_and_send_public_streams_alone(
    url: str, path: str, method: str
) -> None:
    async with client(url, path) as socket:
        assert await ask(socket, method, ["btcusdt@aggTrade", "btcusdt@bookTicker"]) == {"result": None, "id": 1}
        told = [await event(socket) for _ in range(10)]
        assert {message.get("data", message)["e"] for message in told} == {"bookTicker"}


async def test_subscriptions_come_and_go(url: str, exchange: Exchange) -> None:
    async with client(url, "/market/ws") as socket:
        assert await ask(socket, "LIST_SUBSCRIPTIONS", number=7) == {"result": [], "id": 7}
        assert await ask(socket, "SUBSCRIBE", ["btcusdt@aggTrade", "!forceOrder@arr"]) == {"result": None, "id": 1}
        assert (await event(socket))["e"] == "aggTrade"
        assert (await ask(socket, "LIST_SUBSCRIPTIONS"))["result"] == ["btcusdt@aggTrade", "!forceOrder@arr"]
        assert await ask(socket, "UNSUBSCRIBE", ["btcusdt@aggTrade", "never@was"], 2) == {"result": None, "id": 2}
        assert (await ask(socket, "LIST_SUBSCRIPTIONS"))["result"] == ["!forceOrder@arr"]
        assert exchange.streams.report()["open"] == 1


async def test_the_envelope_can_be_switched_on(url: str) -> None:
    async with client(url, "/market/ws/btcusdt@aggTrade") as socket:
        assert (await ask(socket, "GET_PROPERTY", ["combined"]))["result"] is False
        assert (await ask(socket, "SET_PROPERTY", ["combined", True]))["result"] is None
        assert (await event(socket))["stream"] == "btcusdt@aggTrade"
        assert (await ask(socket, "GET_PROPERTY", ["combined"]))["result"] is True


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ('{"method":"SUBSCRIBE"', 3, "Invalid JSON: expected value at line 1 column 22"),
        ('{"params":[],"id":1}', 2, "Invalid request: missing field `method` at line 1 column 20"),
        ('{"method":"SUBSCRIB","id":1}', 2, "Invalid request: unknown variant `SUBSCRIB`, expected one of `SUBSCRIBE`"),
        ('{"method":"SUBSCRIBE","params":["a"]}', 2, "Invalid request: request ID must be an unsigned integer"),
        ('{"method":"SUBSCRIBE","params":["a"],"id":-1}', 2, "Invalid request: request ID must be an unsigned integer"),
        ('{"method":"LIST_SUBSCRIPTIONS","params":["a"],"id":1}', 2, "Invalid request: too many parameters"),
        ('{"method":"GET_PROPERTY","params":[],"id":1}', 2, "Invalid request: property name must be a string"),
        ('{"method":"GET_PROPERTY","params":["x"],"id":1}', 0, "Unknown property"),
        ('{"method":"SET_PROPERTY","params":["combined",1],"id":1}', 1, "Invalid value type: expected Boolean"),
    ],
)
async def test_wrong_requests_get_the_documented_errors(url: str, text: str, code: int, message: str) -> None:
    async with client(url, "/market/ws") as socket:
        await socket.send_str(text)
        refused = await answer(socket)
        assert refused["code"] == code
        assert refused["msg"].startswith(message)


async def test_a_ping_of_the_client_is_answered_with_its_payload(url: str) -> None:
    async with client(url, "/market/ws", autoping=False) as socket:
        await socket.ping(b"are you there")
        message = await socket.receive(timeout=5)
        assert (message.type, bytes(message.data)) == (aiohttp.WSMsgType.PONG, b"are you there")


async def test_pings_of_the_server_are_answered_by_any_client_and_keep_it(url: str, exchange: Exchange) -> None:
    exchange.streams.change_settings({"ping_s": 0.2, "pong_timeout_s": 0.6})
    async with client(url, "/market/ws/btcusdt@markPrice@1s") as socket:
        assert [(await event(socket))["e"] for _ in range(2)] == ["markPriceUpdate"] * 2


async def test_who_never_answers_pings_is_disconnected(url: str, exchange: Exchange) -> None:
    exchange.streams.change_settings({"ping_s": 0.1, "pong_timeout_s": 0.3})
    async with client(url, "/market/ws", autoping=False) as socket:
        assert (await socket.receive(timeout=5)).type is aiohttp.WSMsgType.PING
        assert (await end(socket)).extra == "no pong"


async def test_a_life_ends_by_the_server(url: str, exchange: Exchange) -> None:
    exchange.streams.change_settings({"lifetime_s": 0.2})
    async with client(url, "/market/ws") as socket:
        closed = await end(socket)
        assert (closed.data, closed.extra) == (1001, "lifetime")


async def test_an_eleventh_message_within_a_second_ends_it_and_in_the_end_the_address_is_banned(
    url: str, exchange: Exchange
) -> None:
    for _ in range(4):
        async with client(url, "/market/ws") as socket:
            for _ in range(11):
                await socket.ping()
            await end(socket)
    assert exchange.streams.report()["rate_violations"] == 4
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await asyncio.wait_for(client(url, "/market/ws").__aenter__(), 5)
    assert refused.value.status == 418
    async with httpx.AsyncClient(base_url=url) as http:
        assert (await http.get("/fapi/v1/time")).status_code == 418


async def test_more_streams_than_allowed_end_the_connection(url: str) -> None:
    async with client(url, "/market/ws") as socket:
        await ask(socket, "SUBSCRIBE", [f"{number}@aggTrade" for number in range(1024)])
        await socket.send_json({"method": "SUBSCRIBE", "params": ["btcusdt@aggTrade"], "id": 2})
        assert (await end(socket)).data == 1008


async def test_a_plain_request_is_no_handshake(url: str) -> None:
    async with httpx.AsyncClient(base_url=url) as http:
        assert (await http.get("/market/ws")).status_code == 400


async def test_the_report_says_who_was_there_and_why_not_any_more(url: str, exchange: Exchange) -> None:
    async with client(url, "/market/ws/btcusdt@aggTrade") as socket:
        await event(socket)
        await ask(socket, "SUBSCRIBE", ["btcusdt@kline_1m"])
    while exchange.streams.report()["open"]:
        await asyncio.sleep(0)
    report = exchange.streams.report()
    (known,) = report["connections"]  # type: ignore[misc]
    assert known["path"] == "/market/ws/btcusdt@aggTrade"
    assert known["subscriptions"] == ["btcusdt@aggTrade", "btcusdt@kline_1m"]
    assert known["reason"] == "closed by the client with 1000"
    assert known["messages_received"] == 1
    assert known["frames_sent"] >= 2
    ((since, until),) = report["listened"]["btcusdt@aggTrade"]  # type: ignore[index]
    assert (since, until) == pytest.approx((known["opened_s"], known["closed_s"]), abs=0.1)


async def test_five_thousand_messages_a_second_arrive_in_order_and_in_time(url: str, exchange: Exchange) -> None:
    async with client(url, "/market/stream?streams=!forceOrder@arr") as socket:
        exchange.streams.change_settings({"liquidations_per_s": 0})
        exchange.streams.start_burst({"kind": "forceOrder", "per_s": 5000, "seconds": 1})
        times = [(await event(socket))["data"]["E"] for _ in range(5000)]
        assert times == sorted(times)
        assert exchange.clock.stream_now() - times[-1] < 2000


async def test_a_server_that_stops_says_goodbye(exchange: Exchange) -> None:
    async with serving(exchange) as url:
        session = aiohttp.ClientSession()
        socket = await session.ws_connect(f"{url}/market/ws")
    assert (await end(socket)).data == 1001
    await session.close()


def test_controls_reach_the_process(mutable: Handle) -> None:
    settings = mutable.set_streams(liquidations_per_s=200, ping_s=60)
    assert (settings["liquidations_per_s"], settings["ping_s"], settings["lifetime_s"]) == (200, 60, 86_400)
    mutable.burst("forceOrder", 1000, 0.3)
    while not mutable.streams()["bursts"][0]["over"]:
        pass
    log = mutable.liquidations()
    assert len(log) >= 300
    assert mutable.liquidations(after=log[-1]["id"] - 1)[0] == log[-1]
    mutable.clear_streams()
    assert (mutable.streams()["bursts"], mutable.drop_streams()) == ([], 0)
    with pytest.raises(HTTPError) as refusal:
        mutable.set_streams(life=3)
    assert refusal.value.read().startswith(b"no stream setting 'life'")
    refusal.value.close()


def test_options_reach_the_streams() -> None:
    exchange = build(arguments(["--streams", "lifetime_s=60,liquidations_per_s=0"]))
    assert (exchange.streams.settings.lifetime_s, exchange.streams.liquidations.per_s) == (60.0, 0.0)
    with pytest.raises(ValueError, match="lifetime"):
        build(arguments(["--streams", "lifetime=60"]))
