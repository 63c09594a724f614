"""Draining against a real Redis and database: every liquidation once, whatever dies on the way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from itertools import count
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import redis as redis_sync
from hypothesis import given
from hypothesis import strategies as st

from perpflow import draining, pipeline, reporting
from perpflow.batches import Batch, Plan
from perpflow.datasets import LIQUIDATIONS
from perpflow.draining import BEFORE_TOLD, SortedOut, sort_out
from perpflow.errors import BatchFaulty, StateDamaged, StoreUnavailable
from perpflow.settings import Deployment
from perpflow.store import received
from perpflow.store.cache import open_redis
from perpflow.store.database import connection_options, session
from perpflow.store.received import (
    ENTRIES_KEY,
    GROUP,
    Appended,
    DatabaseEntries,
    Entry,
    Listened,
    RedisEntries,
    Told,
)
from perpflow.windows import Window, from_ms
from tests.loading import facts, rows, run_batch

NOW_MS = 1_791_391_083_124
#: Nothing listens there.
NOWHERE = "redis://127.0.0.1:1/0"
PLACES = pytest.mark.parametrize("place", ["redis", "database"])
_numbers = count(1)


def told(n: int = 0, at: int = 0, **changes: Any) -> Told:
    """A liquidation as documented, `at` ms later than the first one; `n` makes it another."""
    order = {
        "s": "SOLUSDT", "S": "SELL", "o": "LIMIT", "f": "IOC", "q": "116.5", "p": "3.80300", "ap": f"{3.85642 + n}",
        "X": "FILLED", "l": "25.2", "z": "116.5", "T": NOW_MS - 1005 + at, "st": 1,
    } | changes  # fmt: skip
    event = {"e": "forceOrder", "E": NOW_MS + at, "o": order}
    return Told(json.dumps({"stream": "!forceOrder@arr", "data": event}).encode(), NOW_MS + at + 20)


@pytest.fixture
def own_redis_url(redis_url: str) -> Iterator[str]:
    """A database of the session's Redis that only this test writes to."""
    url = urlunsplit(urlsplit(redis_url)._replace(path="/9"))
    with redis_sync.Redis.from_url(url) as client:
        client.flushdb()
        yield url
        client.flushdb()


@pytest.fixture
def redis(own_redis_url: str) -> Iterator[redis_sync.Redis]:
    with redis_sync.Redis.from_url(own_redis_url) as client:
        yield client


@pytest.fixture
def deployment(empty_database_url: str, own_redis_url: str) -> Deployment:
    return Deployment(database_url=empty_database_url, redis_url=own_redis_url)


@asynccontextmanager
async def in_redis(deployment: Deployment) -> Any:
    assert deployment.redis_url
    async with open_redis(deployment.redis_url) as client:
        yield RedisEntries(client)


@asynccontextmanager
async def in_database(deployment: Deployment) -> Any:
    url = deployment.database_url
    async with await psycopg.AsyncConnection.connect(url, **connection_options(url)) as connection:
        yield DatabaseEntries(connection)


def opened(deployment: Deployment, place: str) -> AbstractAsyncContextManager[Any]:
    return in_redis(deployment) if place == "redis" else in_database(deployment)


def put(deployment: Deployment, place: str, *entries: Entry) -> None:
    async def append() -> None:
        async with opened(deployment, place) as waiting:
            await waiting.append(entries)

    asyncio.run(append())


def plan(deployment: Deployment, reclaim_after_s: float = 300) -> Plan:
    return pipeline.plan_drain(deployment, f"drain|{next(_numbers)}", reclaim_after_s)


def drain(deployment: Deployment, reclaim_after_s: float = 300) -> list[dict[str, int]]:
    """What `ingest_liquidations` does; the counts of each batch."""
    planned = plan(deployment, reclaim_after_s)
    done = [run_batch(deployment, batch)[LIQUIDATIONS.name] for batch in planned.batches]
    reporting.report(deployment, planned)
    return done


def inserted(deployment: Deployment) -> int:
    return len(facts(deployment.database_url, LIQUIDATIONS.name))


def waiting(deployment: Deployment, redis: redis_sync.Redis) -> tuple[int, int, list[Any]]:
    """Entries in Redis, in the database, and the group's consumers."""
    with session(deployment.database_url) as connection:
        (left,) = rows(connection, "SELECT count(*) FROM staging.received")
    has_group = bool(redis.exists(ENTRIES_KEY)) and bool(redis.xinfo_groups(ENTRIES_KEY))
    consumers: list[Any] = redis.xinfo_consumers(ENTRIES_KEY, GROUP) if has_group else []
    return redis.xlen(ENTRIES_KEY), left[0], consumers


def quarantined(deployment: Deployment) -> list[tuple[Any, ...]]:
    with session(deployment.database_url) as connection:
        return rows(connection, "SELECT symbol, expectation, source, origin FROM quarantine ORDER BY 2, 1")


def listening(deployment: Deployment) -> list[tuple[Any, ...]]:
    with session(deployment.database_url) as connection:
        return rows(connection, "SELECT dataset, symbol, series, listening::text, available_from FROM coverage")


@PLACES
def test_what_waits_comes_into_the_table_with_its_units_and_its_provenance(
    deployment: Deployment, redis: redis_sync.Redis, place: str
) -> None:
    put(deployment, place, told(), Listened(NOW_MS - 60_000, NOW_MS))
    counts = {"staged": 1, "inserted": 1, "updated": 0, "corrected": 0, "unchanged": 0, "quarantined": 0}
    assert drain(deployment) == [counts]
    ((*row, source),) = facts(deployment.database_url, LIQUIDATIONS.name)
    assert source == "stream"
    assert row == [
        "SOL/USDT", from_ms(NOW_MS - 1005), "SELL", 3.85642, 116.5, 3.803, 116.5, "LIMIT", "IOC", "FILLED",
    ]  # fmt: skip
    assert waiting(deployment, redis) == (0, 0, [])
    first, last = from_ms(NOW_MS - 60_000), from_ms(NOW_MS)
    heard = Window(first, last)
    ((*key, _, begins),) = listening(deployment)
    assert (key, begins) == (["liquidations", "*", "forceOrder"], first)
    with session(deployment.database_url) as connection:
        assert rows(connection, "SELECT lower(listening), upper(listening) FROM coverage") == [(heard.start, heard.end)]
        log = rows(connection, 'SELECT symbols, sources, "window" @> %s FROM data_versions', from_ms(NOW_MS))
    assert log == [(["SOL/USDT"], ["stream"], True)]


@PLACES
def test_nothing_waits_and_nothing_is_planned(deployment: Deployment, redis: redis_sync.Redis, place: str) -> None:
    put(deployment, place, told())
    drain(deployment)
    assert plan(deployment).batches == []
    assert inserted(deployment) == 1


@PLACES
def test_two_streams_tell_the_same_and_it_is_there_once(
    deployment: Deployment, redis: redis_sync.Redis, place: str
) -> None:
    put(deployment, place, *(told(n) for n in range(5)), *(told(n) for n in range(5)))
    (counts,) = drain(deployment)
    assert (counts["staged"], counts["inserted"]) == (5, 5)
    put(deployment, "redis", *(told(n) for n in range(5)))
    (counts,) = drain(deployment)
    assert (counts["staged"], counts["unchanged"], counts["inserted"]) == (5, 5, 0)


@PLACES
@pytest.mark.parametrize("steps", [0, 1, 2], ids=["planned", "staged", "checked"])
def test_what_a_dead_drain_has_left_a_later_one_takes_over(
    deployment: Deployment, redis: redis_sync.Redis, place: str, steps: int
) -> None:
    put(deployment, place, *(told(n) for n in range(3)))
    (batch,) = plan(deployment).batches
    for step in (pipeline.stage, pipeline.check)[:steps]:
        step(deployment, batch)
    again = plan(deployment)
    assert again.batches == []  # it may still be at work
    where = "Redis" if place == "redis" else "the database"
    assert again.notes == [f"3 entries in {where} are another drain's; one that has died gives them up in time"]
    (counts,) = drain(deployment, reclaim_after_s=0)
    assert counts["inserted"] == 3
    assert waiting(deployment, redis)[:2] == (0, 0)
    # The dead one was merely slow: nothing of its own is left, and it publishes nothing.
    run_batch(deployment, batch)
    assert inserted(deployment) == 3


@PLACES
def test_a_plan_never_takes_from_itself_however_soon_others_are_taken_for_dead(
    deployment: Deployment, redis: redis_sync.Redis, place: str
) -> None:
    put(deployment, place, *(told(n) for n in range(5)))

    async def claimed(*batches: str) -> list[int]:
        async with opened(deployment, place) as waiting:
            return [len(await waiting.claim(batch, 2, 0)) for batch in batches]

    assert asyncio.run(claimed("a", "b", "c", "d")) == [2, 2, 1, 0]
    assert asyncio.run(claimed("e", "f", "g", "h")) == [2, 2, 1, 0]


def test_the_names_of_batches_that_died_are_forgotten_in_time(
    deployment: Deployment, redis: redis_sync.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(deployment, "redis", told())
    assert len(plan(deployment).batches) == 1
    drain(deployment, reclaim_after_s=0)
    assert len(redis.xinfo_consumers(ENTRIES_KEY, GROUP)) == 1
    monkeypatch.setattr(received, "FORGET_AFTER", timedelta(0))
    drain(deployment)
    assert redis.xinfo_consumers(ENTRIES_KEY, GROUP) == []


@PLACES
def test_a_drain_that_dies_between_commit_and_acknowledgement_publishes_nothing_twice(
    deployment: Deployment, redis: redis_sync.Redis, place: str
) -> None:
    put(deployment, place, *(told(n) for n in range(3)))
    (batch,) = plan(deployment).batches
    pipeline.stage(deployment, batch)
    pipeline.check(deployment, batch)
    # Where it then looks for Redis nobody answers: as if it were dead.
    pipeline.publish(deployment.model_copy(update={"redis_url": NOWHERE}), batch)
    assert inserted(deployment) == 3
    assert waiting(deployment, redis)[0] == (3 if place == "redis" else 0)
    done = drain(deployment, reclaim_after_s=0)
    assert [counts["unchanged"] for counts in done] == ([3] if place == "redis" else [])
    assert waiting(deployment, redis)[:2] == (0, 0)


def test_publishing_again_lets_the_entries_go_that_the_first_time_could_not(
    deployment: Deployment, redis: redis_sync.Redis
) -> None:
    put(deployment, "redis", told())
    (batch,) = plan(deployment).batches
    pipeline.stage(deployment, batch)
    pipeline.check(deployment, batch)
    pipeline.publish(deployment.model_copy(update={"redis_url": NOWHERE}), batch)
    put(deployment, "redis", told(1))
    assert waiting(deployment, redis)[0] == 2
    pipeline.publish(deployment, batch)
    assert waiting(deployment, redis)[0] == 1  # what came later is another batch's


@PLACES
@pytest.mark.parametrize("after", ["stage", "check"])
def test_staged_rows_that_a_crash_has_emptied_are_staged_again(
    deployment: Deployment, redis: redis_sync.Redis, place: str, after: str
) -> None:
    put(deployment, place, *(told(n) for n in range(3)))
    (batch,) = plan(deployment).batches
    pipeline.stage(deployment, batch)
    if after == "check":
        pipeline.check(deployment, batch)
    with session(deployment.database_url) as connection:
        connection.execute("TRUNCATE staging.liquidations")
    pipeline.check(deployment, batch)
    pipeline.publish(deployment, batch)
    assert inserted(deployment) == 3


def test_redis_away_is_named_and_what_waits_in_the_database_goes_on(
    deployment: Deployment, redis: redis_sync.Redis
) -> None:
    put(deployment, "redis", told(1))
    put(deployment, "database", told(2))
    cut_off = deployment.model_copy(update={"redis_url": NOWHERE})
    with pytest.raises(BatchFaulty, match="what waits in Redis: Redis does not answer"):
        drain(cut_off)
    assert inserted(deployment) == 1
    drain(deployment)
    assert inserted(deployment) == 2


def test_a_batch_of_redis_does_not_go_on_without_it(deployment: Deployment, redis: redis_sync.Redis) -> None:
    put(deployment, "redis", told())
    (batch,) = plan(deployment).batches
    with pytest.raises(StoreUnavailable, match="Redis does not answer"):
        pipeline.stage(deployment.model_copy(update={"redis_url": NOWHERE}), batch)
    assert waiting(deployment, redis)[0] == 1


def test_a_key_of_another_type_is_damage_that_is_named(deployment: Deployment, redis: redis_sync.Redis) -> None:
    redis.set(ENTRIES_KEY, "mine")
    put(deployment, "database", told())
    with pytest.raises(BatchFaulty, match=f"{ENTRIES_KEY} holds something of another type"):
        drain(deployment)
    assert inserted(deployment) == 1
    with pytest.raises(StateDamaged):
        put(deployment, "redis", told())


def test_what_waits_is_cut_into_batches(
    deployment: Deployment, redis: redis_sync.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "BATCH_ENTRIES", 4)
    monkeypatch.setattr(draining, "MOST_BATCHES", 2)
    put(deployment, "redis", *(told(n) for n in range(9)))
    planned = plan(deployment)
    assert len(planned.batches) == 2
    assert planned.notes == ["more waits than 2 batches hold; the next run goes on"]
    for batch in planned.batches:
        run_batch(deployment, batch)
    drain(deployment)
    assert inserted(deployment) == 9


def test_what_comes_while_a_plan_is_made_is_the_next_runs(
    deployment: Deployment, redis: redis_sync.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(deployment, "redis", told(1))
    claim = RedisEntries.claim

    async def claim_while_more_comes(self: RedisEntries, *claimed: Any) -> list[Entry]:
        entries = await claim(self, *claimed)
        await self.append([told(2)])
        return entries

    monkeypatch.setattr(RedisEntries, "claim", claim_while_more_comes)
    (batch,) = plan(deployment).batches
    run_batch(deployment, batch)
    assert inserted(deployment) == 1


def test_a_stream_that_is_full_loses_the_oldest_and_says_how_many(deployment: Deployment) -> None:
    async def overfill() -> tuple[list[Appended], list[Entry]]:
        async with open_redis(str(deployment.redis_url)) as client:
            entries = RedisEntries(client, most=3)
            said = [await entries.append([entry]) for entry in (Listened(1, 2), *(told(n) for n in range(4)))]
            said.append(await entries.append([told(n) for n in range(4, 6)]))
            return said, await entries.claim("batch", 10)

    said, left = asyncio.run(overfill())
    # When somebody listened is lost with the fourth, and is no liquidation.
    assert said == [Appended(0, False)] * 4 + [Appended(1, False), Appended(2, False)]
    assert left == [told(3), told(4), told(5)]


def test_a_loss_is_noticed_where_another_stream_has_appended_since(deployment: Deployment) -> None:
    async def lose() -> list[Appended]:
        async with open_redis(str(deployment.redis_url)) as client:
            one, other = RedisEntries(client), RedisEntries(client)
            said = [await one.append([told(1)])]
            await client.flushdb()
            return [*said, await other.append([told(2)]), await one.append([told(3)])]

    assert asyncio.run(lose()) == [Appended(0, False), Appended(0, False), Appended(0, True)]


def test_a_server_that_has_lost_what_it_acknowledged_is_noticed(deployment: Deployment) -> None:
    async def lose() -> list[Appended]:
        async with open_redis(str(deployment.redis_url)) as client:
            entries = RedisEntries(client)
            said = [await entries.append([told(1)])]
            await client.delete(ENTRIES_KEY)
            said += [await entries.append([told(2)]), await entries.append([told(1), told(2)])]
            assert await client.xlen(ENTRIES_KEY) == 2
            # Drained is not lost: the stream knows the last id that it gave.
            await client.xtrim(ENTRIES_KEY, maxlen=0)
            return [*said, await entries.append([told(3)])]

    assert asyncio.run(lose()) == [Appended(0, False), Appended(0, True), Appended(0, False), Appended(0, False)]


UNREADABLE = [
    b"",
    b"\xff\xfe\x00",
    b'{"stream":"!forceOrder@arr"}',
    b'{"stream":"!forceOrder@arr","data":[]}',
    told(s="A\x7f").frame.replace(b"\\u007f", b"\xff").replace(b"\x7f", b"\xff"),
    b'{"stream":"!forceOrder@arr","data":{"e":"fo\\u0000o"}}',
    b'{"stream":"x","data":' + b"[" * 100_000,
    told(q="many").frame,
    told(S="SELL\0").frame,
    told(T=0).frame,
    told(T=10**20).frame,
    json.dumps({"stream": "x", "data": {"e": "aggTrade", "E": NOW_MS, "s": "SOLUSDT", "p": "1"}}).encode(),
]


@PLACES
def test_a_frame_that_nobody_can_read_is_quarantined_whole_and_holds_up_no_other(
    deployment: Deployment, redis: redis_sync.Redis, place: str
) -> None:
    put(deployment, place, told(1), *(Told(frame, NOW_MS) for frame in UNREADABLE), told(2))
    with pytest.raises(BatchFaulty, match=rf"{len(UNREADABLE)} rows .* \(frame_is_readable\)"):
        drain(deployment)
    assert inserted(deployment) == 2
    assert quarantined(deployment) == [("*", "frame_is_readable", "stream", "!forceOrder@arr")] * len(UNREADABLE)
    with session(deployment.database_url) as connection:
        kept = {row["frame"] for (row,) in rows(connection, "SELECT row FROM quarantine")}
        assert rows(connection, "SELECT staged, inserted, quarantined FROM data_versions") == [
            (len(UNREADABLE) + 2, 2, len(UNREADABLE))
        ]
    assert kept == {frame.decode(errors="backslashreplace").replace("\0", "\\x00") for frame in UNREADABLE}
    assert waiting(deployment, redis)[:2] == (0, 0)


def test_an_entry_that_a_stranger_has_written_is_quarantined_too(
    deployment: Deployment, redis: redis_sync.Redis
) -> None:
    redis.xadd(ENTRIES_KEY, {"hello": "world"})
    redis.xadd(ENTRIES_KEY, {"frame": b"x", "received_ms": "soon"})
    redis.xadd(ENTRIES_KEY, {"frame": b"x", "received_ms": 10**30})
    redis.xadd(ENTRIES_KEY, {b"\xff": b"x"})
    redis.xadd(ENTRIES_KEY, {"start_ms": 10**17, "end_ms": 10**18})
    put(deployment, "redis", told())
    with pytest.raises(BatchFaulty, match="5 rows of liquidations"):
        drain(deployment)
    assert len(quarantined(deployment)) == 5
    assert inserted(deployment) == 1


def test_withheld_liquidations_of_one_instant_are_all_kept(deployment: Deployment, redis: redis_sync.Redis) -> None:
    put(deployment, "redis", told(1, q="-1"), told(2, q="-1"), told(1, q="-1", S="BUY"))
    with pytest.raises(BatchFaulty, match="3 rows of liquidations"):
        drain(deployment)
    with session(deployment.database_url) as connection:
        kept = rows(connection, "SELECT DISTINCT row ->> 'average_price', row ->> 'side' FROM quarantine")
    assert len(kept) == 3


@pytest.mark.parametrize(
    ("changes", "expectation"),
    [
        ({"S": "HOLD"}, "expect_column_values_to_be_in_set(side)"),
        ({"ap": "0"}, "expect_column_values_to_be_between(average_price)"),
        ({"ap": "NaN"}, "expect_column_values_to_be_between(average_price)"),
        ({"z": "0"}, "expect_column_values_to_be_between(filled_quantity)"),
        ({"p": "-1"}, "expect_column_values_to_be_between(price)"),
        ({"q": "Infinity"}, "expect_column_values_to_be_between(quantity)"),
        ({"q": "100"}, "expect_column_pair_values_a_to_be_greater_than_b(quantity,filled_quantity)"),
        ({"T": NOW_MS + 1001}, "time_inside_window"),
        ({"T": NOW_MS + 1001}, "traded_shortly_before_it_was_told"),
        ({"T": NOW_MS - 3_600_001}, "traded_shortly_before_it_was_told"),
        ({"s": "WHATEVER"}, "contract_is_known"),
    ],
)
def test_a_row_that_no_market_has_is_withheld_alone(
    deployment: Deployment, redis: redis_sync.Redis, changes: dict[str, Any], expectation: str
) -> None:
    put(deployment, "redis", told(1), told(2, **changes), told(3))
    with pytest.raises(BatchFaulty, match="withheld: 1 rows of liquidations"):
        drain(deployment)
    assert expectation in {name for _, name, _, _ in quarantined(deployment)}
    assert inserted(deployment) == 2


def test_of_one_key_with_two_values_nobody_can_tell_which_is_true(
    deployment: Deployment, redis: redis_sync.Redis
) -> None:
    put(deployment, "redis", told(1), told(1, p="3.7"), told(2))
    with pytest.raises(BatchFaulty, match="withheld: 2 rows of liquidations"):
        drain(deployment)
    assert inserted(deployment) == 1


def test_other_markets_and_deliveries_are_left_out_and_counted(deployment: Deployment, redis: redis_sync.Redis) -> None:
    put(deployment, "redis", told(1), told(2, s="BTCUSD_PERP", st=2), told(3, s="BTCUSDT_260925"))
    drain(deployment)
    assert inserted(deployment) == 1
    with session(deployment.database_url) as connection:
        ((normalised,),) = rows(connection, "SELECT normalised FROM data_versions")
    assert normalised == {"other_market": 1, "delivery_contract": 1}


def test_contracts_are_called_what_the_exchange_lists_them_as(deployment: Deployment, redis: redis_sync.Redis) -> None:
    with session(deployment.database_url) as connection:
        connection.execute(
            """INSERT INTO symbols (symbol, exchange_symbol, base, quote, contract_type, status)
               VALUES ('ICP/USDT#SETTLED', 'ICPUSDTSETTLED', 'ICP', 'USDT', 'PERPETUAL', 'DELISTED'),
                      ('ODD/EUR', 'ODDEUR', 'ODD', 'EUR', 'PERPETUAL', 'TRADING')"""
        )
    names = ("ICPUSDTSETTLED", "ODDEUR", "NEWUSDC", "币安人生USDT")
    put(deployment, "redis", *(told(n, s=name) for n, name in enumerate(names)))
    drain(deployment)
    found = {row[0] for row in facts(deployment.database_url, LIQUIDATIONS.name)}
    assert found == {"ICP/USDT#SETTLED", "ODD/EUR", "NEW/USDC", "币安人生/USDT"}


def test_times_of_listening_are_united_and_come_with_or_without_liquidations(
    deployment: Deployment, redis: redis_sync.Redis
) -> None:
    put(deployment, "redis", Listened(NOW_MS, NOW_MS + 5000), Listened(NOW_MS + 4000, NOW_MS + 9000))
    drain(deployment)
    put(deployment, "database", Listened(NOW_MS - 5000, NOW_MS - 4000), Listened(NOW_MS + 9000, NOW_MS + 9000))
    drain(deployment)
    with session(deployment.database_url) as connection:
        found = rows(connection, "SELECT lower(r), upper(r) FROM coverage, unnest(listening) AS r ORDER BY 1")
    assert found == [
        (from_ms(NOW_MS - 5000), from_ms(NOW_MS - 4000)),
        (from_ms(NOW_MS), from_ms(NOW_MS + 9000)),
    ]
    assert listening(deployment)[0][-1] == from_ms(NOW_MS - 5000)


def test_two_drains_at_once_share_what_waits(deployment: Deployment, redis: redis_sync.Redis) -> None:
    put(deployment, "redis", *(told(n) for n in range(40)))
    put(deployment, "database", *(told(n) for n in range(20, 60)))

    async def both() -> None:
        await asyncio.gather(*(asyncio.to_thread(drain, deployment) for _ in range(2)))

    asyncio.run(both())
    assert inserted(deployment) == 60
    assert waiting(deployment, redis)[:2] == (0, 0)


@given(
    st.lists(
        st.builds(Told, st.binary(max_size=40) | st.sampled_from([told(n).frame for n in range(3)]), st.integers(0, 9))
        | st.builds(Listened, st.integers(0, 10**12), st.integers(0, 10**12))
    )
)
def test_whatever_waits_is_sorted_out_and_nothing_is_left_over(entries: list[Entry]) -> None:
    found = sort_out(entries, {"SOLUSDT": "SOL/USDT"})
    frames = sum(isinstance(entry, Told) for entry in entries)
    assert len(found.rows) + len(found.unreadable) == frames
    assert {symbol for symbol, _ in found.rows} <= {"SOL/USDT"}
    assert isinstance(found, SortedOut)


def test_a_batchs_window_begins_an_hour_before_its_first_event(deployment: Deployment) -> None:
    put(deployment, "database", told(at=-60_000), told())
    (batch,) = plan(deployment).batches
    assert isinstance(batch, Batch)
    assert batch.window.start == from_ms(NOW_MS - 60_000) - BEFORE_TOLD
    assert batch.window.end == from_ms(NOW_MS + 1000)
    assert batch.label == f"liquidations until {batch.window.end:%Y-%m-%d %H:%M}"
