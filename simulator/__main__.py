"""`python -m simulator`: start the exchange, print one JSON line with its URL, serve until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path

from simulator.clock import Clock
from simulator.exchange import DEFAULT_NOW, Exchange, recorded, synthetic
from simulator.faults import parse_fault, parse_pairs
from simulator.grid import to_datetime, to_ms
from simulator.server import serving


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(prog="python -m simulator", description="A loopback Binance USD-M exchange.")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 picks a free one (default)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--seed", type=int, default=7, help="which synthetic market (default 7)")
    parser.add_argument("--now", help="the exchange's clock at the start, ISO, UTC (default 2026-10-15T12:34:56Z)")
    parser.add_argument(
        "--symbols", type=int, default=0, metavar="N", help="invent contracts until N perpetuals stay listed"
    )
    parser.add_argument("--frozen", action="store_true", help="the clock stands still")
    parser.add_argument("--no-quirks", action="store_true", help="leave out the exchange's oddities")
    parser.add_argument("--recorded", type=Path, metavar="DIR", help="serve recorded archive files instead")
    parser.add_argument(
        "--fault", action="append", default=[], metavar="SPEC",
        help='JSON or "kind,key=value,...", for instance status,code=503,match=/fapi/v1/klines,times=2; repeatable',
    )  # fmt: skip
    parser.add_argument(
        "--streams", metavar="NAME=VALUE,...", default="",
        help="other rules of streams: lifetime_s (86400), ping_s (180), pong_timeout_s (600), messages_per_s (10), "
        "streams (1024, per connection), liquidations_per_s (1, mean over all symbols)",
    )  # fmt: skip
    return parser.parse_args(argv)


def build(options: argparse.Namespace) -> Exchange:
    """The exchange that the options ask for; ValueError when a fault or a time makes no sense."""
    now = to_ms(options.now) if options.now else None
    if options.recorded:
        exchange = recorded(options.recorded, now, frozen=options.frozen)
    else:
        clock = Clock(DEFAULT_NOW if now is None else now, frozen=options.frozen)
        exchange = synthetic(options.seed, clock, quirky=not options.no_quirks, perpetuals=options.symbols)
    for text in options.fault:
        exchange.faults.add(parse_fault(text))
    exchange.streams.change_settings(dict(parse_pairs(options.streams)))
    return exchange


async def serve(exchange: Exchange, options: argparse.Namespace) -> None:
    """Serve until a signal asks to stop."""
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    async with serving(exchange, options.port, options.host) as url:
        now = to_datetime(exchange.clock.now()).isoformat().replace("+00:00", "Z")
        print(json.dumps({"url": url, "now": now, "seed": exchange.seed}), flush=True)
        await stop.wait()


def main(argv: list[str] | None = None) -> int:
    """Exit 0 after a clean stop, 2 for bad usage."""
    options = arguments(argv)
    try:
        exchange = build(options)
    except (ValueError, KeyError) as error:
        print(f"simulator: {error}", file=sys.stderr)
        return 2
    asyncio.run(serve(exchange, options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
