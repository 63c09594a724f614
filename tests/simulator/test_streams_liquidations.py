"""Liquidations: at most one of a symbol per second, the largest; a log of exactly what went out; a rate that holds."""

from __future__ import annotations

from collections import defaultdict

from simulator.feed import SyntheticFeed
from simulator.liquidations import Liquidations
from simulator.payloads import Order
from simulator.quotes import Quotes
from simulator.symbols import CONTRACTS
from tests.simulator.conftest import SEED
from tests.simulator.stream_clients import NOW, Venue


class Watched(Liquidations):
    """Remembers every order, told or not, with when it arrived."""

    orders: list[tuple[int, Order]]

    def order(self, contract: object, at: int) -> Order:
        order = super().order(contract, at)  # type: ignore[arg-type]
        self.orders.append((at, order))
        return order


def told(per_s: float, seconds: int) -> tuple[Watched, list[tuple[Order, int]]]:
    """All that is told in so many seconds."""
    made = Watched(SEED, CONTRACTS, Quotes(SyntheticFeed(SEED)), per_s, 0.0)
    made.orders = []
    return made, [entry for tenth in range(1, seconds * 10 + 1) for entry in made.due(tenth / 10, NOW + tenth * 100)]


def test_at_most_one_a_second_of_a_symbol_goes_out_and_it_is_the_largest() -> None:
    made, out = told(per_s=60, seconds=60)
    by_symbol: dict[str, list[tuple[Order, int]]] = defaultdict(list)
    for order, event_time in out:
        by_symbol[order.symbol].append((order, event_time))
    assert len(by_symbol) == 12
    assert len(out) < len(made.orders) / 2
    for symbol, entries in by_symbol.items():
        times = [event_time for _, event_time in entries]
        assert all(later - earlier >= 1000 for earlier, later in zip(times, times[1:], strict=False))
        for (order, until), since in zip(entries, [0, *times], strict=False):
            # What came in the very millisecond of a turn may belong to either window.
            inside = [other for at, other in made.orders if other.symbol == symbol and since < at < until]
            assert since <= order.time <= until
            assert float(order.quantity) >= max(float(other.quantity) for other in inside)


def test_a_lone_liquidation_is_told_a_second_later() -> None:
    _, out = told(per_s=0.2, seconds=120)
    assert 10 < len(out) < 50
    delays = [event_time - order.time for order, event_time in out]
    assert all(1003 <= delay <= 1013 for delay in delays)


def test_the_rate_is_what_was_asked_for_and_the_seed_decides() -> None:
    made, out = told(per_s=1, seconds=600)
    assert 500 < len(made.orders) < 700
    assert told(per_s=1, seconds=600)[1] == out
    assert told(per_s=0, seconds=60)[1] == []


def test_a_liquidation_is_filled_between_mark_and_bankruptcy_price() -> None:
    for _, order in told(per_s=10, seconds=30)[0].orders:
        mark = Quotes(SyntheticFeed(SEED)).price(next(c for c in CONTRACTS if c.symbol == order.symbol), order.time)
        prices = [float(order.price), float(order.average), mark]
        assert prices == sorted(prices, reverse=order.side == "BUY") or abs(prices[1] - mark) / mark < 1e-3
        assert float(order.last) <= float(order.quantity)


def test_the_log_says_who_was_sent_what() -> None:
    venue = Venue(liquidations_per_s=20)
    everything, wire = venue.connect("!forceOrder@arr")
    one, single = venue.connect("btcusdt@forceOrder", combined=True)
    both, twice = venue.connect("btcusdt@forceOrder", "!forceOrder@arr")
    venue.pass_time(10)
    everything.gone("lost")
    venue.pass_time(10)
    log = venue.hub.liquidations.report()["liquidations"]
    assert isinstance(log, list)
    for connection, events in ((everything, wire.events()), (one, [seen["data"] for seen in single.events()])):
        sent = [entry for entry in log if connection.number in entry["connections"]]
        assert events == [{field: entry[field] for field in ("e", "E", "o")} for entry in sent]
        assert events
    bitcoin = [entry for entry in log if entry["o"]["s"] == "BTCUSDT"]
    assert len(twice.events()) == len(log) + len(bitcoin)
    assert all(entry["sent_to"] == len(entry["connections"]) for entry in log)
    assert {entry["sent_to"] for entry in bitcoin} == {2, 3}
    assert [entry["id"] for entry in log] == list(range(1, len(log) + 1))


def test_the_log_goes_on_when_nobody_listens_and_can_be_read_from_a_number_on() -> None:
    venue = Venue(liquidations_per_s=5)
    venue.pass_time(20)
    liquidations = venue.hub.liquidations
    log = liquidations.report()["liquidations"]
    assert isinstance(log, list)
    assert {entry["sent_to"] for entry in log} == {0}
    assert liquidations.report(after=10)["liquidations"] == log[10:]
    liquidations.clear()
    assert liquidations.report() == {"total": len(log), "liquidations": []}


def test_a_burst_of_liquidations_is_logged_to_the_last_and_no_two_are_alike() -> None:
    venue = Venue()
    connection, wire = venue.connect("!forceOrder@arr")
    venue.hub.start_burst({"kind": "forceOrder", "per_s": 5000, "seconds": 1, "symbols": ["BTCUSDT", "ETHUSDT"]})
    venue.pass_time(2, step=0.02)
    events = wire.events()
    keys = {(o["s"], o["S"], o["T"], o["z"], o["ap"]) for o in (told["o"] for told in events)}
    assert len(events) == len(keys) == 5000
    assert {key[0] for key in keys} == {"BTCUSDT", "ETHUSDT"}
    log = venue.hub.liquidations.log
    assert len(log) == 5000
    assert {entry.connections for entry in log} == {(connection.number,)}
