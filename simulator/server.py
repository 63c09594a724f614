"""The HTTP server: one port for REST, archive, listing, streams and the control interface under `/_simulator/`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from simulator.exchange import Exchange
from simulator.grid import to_datetime, to_ms
from simulator.messages import Request
from simulator.plumbing import CONTROL, EXCHANGE, json_object, respond
from simulator.websockets import add_streams


def application(exchange: Exchange) -> web.Application:
    """The aiohttp application that serves an exchange."""
    app = web.Application()
    app[EXCHANGE] = exchange
    control = app.router
    control.add_get(f"{CONTROL}faults", _list_faults)
    control.add_post(f"{CONTROL}faults", _add_fault)
    control.add_delete(f"{CONTROL}faults", _remove_faults)
    control.add_delete(f"{CONTROL}faults/{{id}}", _remove_faults)
    control.add_get(f"{CONTROL}requests", _report)
    control.add_delete(f"{CONTROL}requests", _clear_report)
    control.add_get(f"{CONTROL}clock", _show_clock)
    control.add_post(f"{CONTROL}clock", _move_clock)
    control.add_post(f"{CONTROL}limits", _set_limits)
    control.add_post(f"{CONTROL}ban", _ban)
    add_streams(app)
    control.add_get("/{path:.*}", _serve)
    return app


async def _serve(incoming: web.Request) -> web.StreamResponse:
    exchange = incoming.app[EXCHANGE]
    request = Request(incoming.path, dict(incoming.query), incoming.headers.get("If-None-Match", ""))
    reply = exchange.handle(request)
    # Asked after the answer is made, so that a slow answer is a late one, not one from another time.
    delay = exchange.faults.latency_s(request)
    if delay:
        await asyncio.sleep(delay)
    return await respond(incoming, reply)


async def _list_faults(incoming: web.Request) -> web.Response:
    return web.json_response(incoming.app[EXCHANGE].faults.list())


async def _add_fault(incoming: web.Request) -> web.Response:
    try:
        number = incoming.app[EXCHANGE].faults.add(await json_object(incoming))
    except (ValueError, KeyError) as error:
        raise web.HTTPBadRequest(text=str(error)) from error
    return web.json_response({"id": number})


async def _remove_faults(incoming: web.Request) -> web.Response:
    number = incoming.match_info.get("id")
    incoming.app[EXCHANGE].faults.remove(int(number) if number else None)
    return web.json_response({})


async def _report(incoming: web.Request) -> web.Response:
    return web.json_response(incoming.app[EXCHANGE].report())


async def _clear_report(incoming: web.Request) -> web.Response:
    incoming.app[EXCHANGE].clear_report()
    return web.json_response({})


async def _show_clock(incoming: web.Request) -> web.Response:
    clock = incoming.app[EXCHANGE].clock
    return web.json_response({"now": to_datetime(clock.now()).isoformat(), "frozen": clock.frozen})


async def _move_clock(incoming: web.Request) -> web.Response:
    content, clock = await json_object(incoming), incoming.app[EXCHANGE].clock
    if "frozen" in content:
        clock.move(clock.now())
        clock.frozen = bool(content["frozen"])
    if "now" in content:
        clock.move(to_ms(str(content["now"])))
    return await _show_clock(incoming)


async def _set_limits(incoming: web.Request) -> web.Response:
    """Other limits than the exchange's, so that a test of a 429 need not send thousands of requests."""
    limits = incoming.app[EXCHANGE].limits
    for name, value in (await json_object(incoming)).items():
        if name == "announced":
            limits.announced = int(str(value))
            continue
        if name not in {window.name for window in limits.windows()}:
            raise web.HTTPBadRequest(text=f"no limit {name!r}")
        getattr(limits, name).limit = int(str(value))
    return web.json_response({window.name: window.limit for window in limits.windows()})


async def _ban(incoming: web.Request) -> web.Response:
    """Ban the address for so many real seconds, whatever it has asked for."""
    seconds = (await json_object(incoming)).get("seconds")
    if not isinstance(seconds, int | float) or seconds <= 0:
        raise web.HTTPBadRequest(text=f"seconds must be a number above 0, not {seconds!r}")
    incoming.app[EXCHANGE].limits.ban(seconds)
    return web.json_response({})


@asynccontextmanager
async def serving(exchange: Exchange, port: int = 0, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """Serve within the running event loop; yields the URL. Port 0 picks a free one."""
    runner = web.AppRunner(application(exchange), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        yield f"http://{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
