"""Each cause that turns a check red or yellow, brought about once for real: what is said of it, and what to do.

`test_health` and `test_health_stream` hold that a check is green again when its cause is gone; this is the table.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import redis as redis_sync

from perpflow import sessions
from perpflow.counters import COUNTS
from perpflow.exchange.shared_budget import state_key
from perpflow.exchange.weight_budget import OPEN_AFTER
from perpflow.health.examination import CHECKS, Check, examine, found_by
from perpflow.health.finding import Finding
from perpflow.health.surroundings import Surroundings, surroundings
from perpflow.include import include_path
from perpflow.settings import Deployment
from perpflow.store.cache import minute_key, open_redis, this_minute
from perpflow.store.database import query, session, to_multirange
from perpflow.store.lease import LEASE_KEY, Lease
from perpflow.store.received import ENTRIES_KEY
from perpflow.store.stream_measures import KEPT_S, MEASURES_KEY
from perpflow.windows import MILLISECOND, Window
from simulator.process import Handle
from tests.loading import deployment_of

REDIS_DATABASE = "/9"
FOREVER_MS = str(2**42)


@dataclass
class House:
    """A deployment in which nothing is wrong and nothing collected, and all that can be done to it."""

    deployment: Deployment
    exchange: Handle
    redis: redis_sync.Redis
    undo: ExitStack

    @property
    def host(self) -> str:
        return urlsplit(self.deployment.rest_url).netloc

    @property
    def state(self) -> str:
        """Redis' key of how the address stands with the exchange."""
        return state_key("default", self.host)

    def sql(self, statement: str, *values: Any) -> None:
        with session(self.deployment.database_url) as connection:
            connection.execute(statement.encode(), values)

    def set(self, **changes: Any) -> None:
        self.deployment = self.deployment.model_copy(update=changes)

    def limit(self, **limits: Any) -> None:
        """Other thresholds, as in collection.yaml."""
        health = type(self.deployment.collection.health).model_validate(limits)
        self.set(collection=self.deployment.collection.model_copy(update={"health": health}))

    def look(self) -> dict[str, Finding]:
        sessions.process_budget.cache_clear()
        return {finding.title: finding for finding in examine(self.deployment)}


@pytest.fixture
def house(empty_database_url: str, exchange: Handle, redis_url: str) -> Iterator[House]:
    own = urlunsplit(urlsplit(redis_url)._replace(path=REDIS_DATABASE))
    made = deployment_of(empty_database_url, exchange, symbols=["SOL/USDT"], stream={"liquidations": False})
    # Another host than REST's, as the real archive is.
    elsewhere = exchange.url.replace("127.0.0.1", "localhost")
    made = made.model_copy(update={"redis_url": own, "archive_url": elsewhere})
    with redis_sync.Redis.from_url(own) as client, ExitStack() as undo:
        client.flushdb()
        COUNTS.take("redis")
        undo.callback(client.flushdb)
        undo.callback(exchange.clear_requests)
        undo.callback(exchange.clear_faults)
        yield House(made, exchange, client, undo)


def freeze(house: House, pid: int) -> None:
    """As a machine that is out of memory or whose disk hangs: it is there, and answers nobody."""
    os.kill(pid, signal.SIGSTOP)
    house.undo.callback(os.kill, pid, signal.SIGCONT)


def frozen_redis(house: House) -> None:
    freeze(house, house.redis.info()["process_id"])


def nobody_may_connect(house: House) -> None:
    address = urlsplit(house.deployment.database_url)
    name = address.path.removeprefix("/")

    def allow(yes: bool) -> None:
        with psycopg.connect(urlunsplit(address._replace(path="/postgres")), autocommit=True) as admin:
            admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {yes}".encode())

    allow(False)
    house.undo.callback(allow, True)


def revoked_right(house: House) -> None:
    """A role that may do nothing, as when somebody forgot to grant."""
    house.sql("DROP ROLE IF EXISTS nobody_much")
    house.sql("CREATE ROLE nobody_much LOGIN PASSWORD 'p'")
    address = urlsplit(house.deployment.database_url)
    house.set(database_url=urlunsplit(address._replace(netloc=f"nobody_much:p@{address.hostname}:{address.port}")))


def locked_table(house: House) -> None:
    """Somebody alters the ledger and does not come to an end."""
    holder = house.undo.enter_context(psycopg.connect(house.deployment.database_url))
    holder.execute("LOCK TABLE quarantine IN ACCESS EXCLUSIVE MODE")


def schema_behind(house: House) -> None:
    house.sql("DELETE FROM schema_migrations WHERE name = '0006_recheck.sql'")


def spent_budget(house: House) -> None:
    seconds, _ = house.redis.time()
    house.redis.zadd(f"{house.state}:statistics", {"1:960": seconds * 1000})


def banned(house: House) -> None:
    house.redis.hset(house.state, mapping={"blocked_until": FOREVER_MS, "blocked_by": "banned"})


def open_circuit(house: House) -> None:
    fields = {"failures": OPEN_AFTER, "open_for": 60_000, "open_until": FOREVER_MS}
    house.redis.hset(house.state, mapping=fields)


def many_errors(house: House) -> None:
    house.redis.hset(minute_key(this_minute()), mapping={"requests.klines": 60, "errors.ExchangeUnavailable": 30})


def archive_404(house: House) -> None:
    house.exchange.add_fault("status", code=404, match="prefix=")


def exchange_451(house: House) -> None:
    house.exchange.add_fault("status", code=451, match="/fapi/v1/time")


def staged(hours: int) -> Callable[[House], None]:
    def claim(house: House) -> None:
        house.sql(
            'INSERT INTO staging.manifests (batch, stage_id, datasets, symbols, "window", run, claimed_at) '
            "VALUES ('b', 1, '{ohlcv}', '{SOL/USDT}', 'empty', 'r', now() - %s)",
            timedelta(hours=hours),
        )

    return claim


def withheld(days: int) -> Callable[[House], None]:
    def insert(house: House) -> None:
        house.sql(
            "INSERT INTO quarantine (batch, dataset, symbol, series, time, expectation, reason, source, row, row_hash, "
            "quarantined_at) VALUES ('b', 'ohlcv', 'SOL/USDT', '5m', now(), 'e', 'high below low', 'rest', '{}', 1, "
            "now() - %s)",
            timedelta(days=days),
        )

    return insert


def disputed(house: House) -> None:
    house.sql(
        'INSERT INTO audit_findings (audit, dataset, symbol, series, "window", severity, "column") '
        "VALUES ('cross_timeframe', 'ohlcv', 'SOL/USDT', '1h', '[2026-10-10,2026-10-11)', 'critical', 'high')"
    )


def unaudited(hours: int) -> Callable[[House], None]:
    def publish(house: House) -> None:
        house.sql(
            "INSERT INTO coverage (dataset, symbol, series, available_from, present, unaudited_since) "
            "VALUES ('mark_price', 'ETH/USDT', '1h', '2026-10-10', '{[2026-10-10,2026-10-11)}', now() - %s)",
            timedelta(hours=hours),
        )

    return publish


def long_since(house: House) -> None:
    """The schema has been there for longer than a run looks back, and nothing else."""
    ago = timedelta(days=house.deployment.collection.look_back_days, minutes=1)
    house.sql("UPDATE schema_migrations SET applied_at = now() - %s", ago)


def hole(days_ago: int) -> Callable[[House], None]:
    """Two hours of open interest lack, so long ago."""

    def punch(house: House) -> None:
        now = house.exchange.now
        missing = Window(now - timedelta(days=days_ago), now - timedelta(days=days_ago) + timedelta(hours=2))
        begins = now - timedelta(days=60)
        house.sql(
            "INSERT INTO coverage (dataset, symbol, series, available_from, present) "
            "VALUES ('open_interest', 'SOL/USDT', '5m', %s, %s)",
            begins,
            to_multirange([Window(begins, missing.start), Window(missing.end, now)]),
        )

    return punch


def late_data(house: House) -> None:
    """The ledger ends nine hours before the exchange's clock."""
    begins, ends = house.exchange.now - timedelta(days=1), house.exchange.now - timedelta(hours=9)
    house.sql(
        "INSERT INTO coverage (dataset, symbol, series, available_from, present) "
        "VALUES ('funding_rate', 'SOL/USDT', 'settlement', %s, %s)",
        begins - timedelta(days=9),
        to_multirange([Window(begins - timedelta(days=9), ends - timedelta(hours=8))]),
    )


def measures(holder: str) -> str:
    return json.dumps(
        {
            "holder": holder, "at": 1, "began_at": 1, "frames_per_s": {}, "lag_ms": None, "write_ms": None,
            "connections": 2, "reconnects": 0, "stalls": 0, "dropped": 0, "waiting": 0, "liquidations": 0,
            "liquidations_waiting": 0,
        }
    )  # fmt: skip


def silent_stream(seconds: int) -> Callable[[House], None]:
    """It renews its lease, and has said nothing of itself for so long."""

    def take(house: House) -> None:
        async def lease() -> None:
            assert house.deployment.redis_url
            async with open_redis(house.deployment.redis_url) as client:
                await Lease(client, "mine").take()

        asyncio.run(lease())
        house.redis.persist(LEASE_KEY)
        house.redis.set(MEASURES_KEY, measures("mine"), px=int((KEPT_S - seconds) * 1000))

    return take


def ended_stream(house: House) -> None:
    house.redis.set(MEASURES_KEY, measures("mine"), px=int((KEPT_S - 100) * 1000))


def undrained(house: House) -> None:
    seconds, _ = house.redis.time()
    at = seconds * 1000 - timedelta(hours=7) // MILLISECOND
    house.redis.xadd(ENTRIES_KEY, {"frame": b"x", "received_ms": 1}, id=f"{at}-0")


def broken_suite(house: House) -> None:
    """Somebody has edited a suite, and left out a brace."""
    copy = Path(house.undo.enter_context(TemporaryDirectory())) / "include"
    shutil.copytree(include_path(), copy)
    (copy / "expectations" / "ohlcv.json").write_text("{")
    house.undo.enter_context(pytest.MonkeyPatch.context()).setenv("PERPFLOW_INCLUDE", str(copy))


def little_room(**limits: Any) -> Callable[[House], None]:
    """A threshold beyond what this machine has."""
    return lambda house: house.limit(**limits)


#: What is done, which finding it makes, and parts of what is said and advised.
CAUSES: list[tuple[str, Callable[[House], None], str, str, str, str]] = [
    ("nobody may connect", nobody_may_connect, "database", "red",
     "the market database reports: .*not currently accepting", "connection perpflow_db"),
    ("a revoked right", revoked_right, "schema", "red",
     "refuses: permission denied for table schema_migrations", "rights of the database's user"),
    ("a locked table", locked_table, "quarantine", "red",
     "canceling statement due to statement timeout", "server's log"),
    ("a migration behind", schema_behind, "schema", "red",
     "1 migrations .* have not run: 0006_recheck.sql", "python -m perpflow migrate"),
    ("a frozen Redis", frozen_redis, "redis", "red", "Redis does not answer: Timeout", "services status"),
    ("little room", little_room(disk_free_gb={"yellow": 1e6, "red": 1e6}), "disk", "red",
     r"GB free where the market database's files are \(/.*the database takes", "Make room"),
    ("less room than wished", little_room(disk_free_gb={"yellow": 1e6}), "disk", "yellow", "GB free", "Make room"),
    ("a large database", little_room(database_gb={"red": 0.0001}), "disk", "red",
     "the database takes 0.0 GB", "health.database_gb"),
    ("a broken suite", broken_suite, "suites ohlcv", "red", r"ohlcv\.json: it is not JSON: .* line 1", "Mend the file"),
    ("451", exchange_451, "exchange", "red", "451", "Binance|network|proxy|address|country"),
    ("404 of the archive", archive_404, "archive", "red", "http://localhost:.* is not there", "archive's URL"),
    ("a spent budget", spent_budget, "budget", "yellow",
     "nearly all of our share is spent: .*statistics 960 of our 1,000", "Work waits"),
    ("a ban", banned, "bans {host}", "red", r"this address is banned until .* \(418\)", "lower exchange.rate_share"),
    ("an open breaker", open_circuit, "circuits {host}", "red",
     f"open, last opened .* after {OPEN_AFTER} failures in a row", "maintenance"),
    ("many errors", many_errors, "errors", "red", r"last 5 min: 6\d requests, 30 ExchangeUnavailable", "tasks' logs"),
    ("late data", late_data, "freshness funding_rate", "red",
     "1 of 1 series are late; worst SOL/USDT settlement", "ingest_funding_rate"),
    ("a hole about to age out", hole(28), "holes", "red",
     "1 series lack points that REST forgets in time; first open_interest SOL/USDT 5m", "python -m perpflow repair"),
    ("a hole with time left", hole(20), "holes", "yellow", "1 series lack points", "repair_gaps"),
    ("rows withheld today", withheld(0), "withheld", "yellow",
     r"1 rows of 1 batches are in quarantine \(ohlcv\)", "quarantine"),
    ("a row that waits for two days", withheld(2), "quarantine", "yellow",
     r"1 rows wait for a review \(ohlcv\), the oldest for 2 days", "review_quarantine"),
    ("a row that waits for weeks", withheld(15), "quarantine", "red", "the oldest for 15 days", "review_quarantine"),
    ("rows that an audit disputes", disputed, "audits", "red",
     r"1 critical findings are open, in 1 series \(cross_timeframe\)", "python -m perpflow audit"),
    ("rows that no audit has looked at for a day", unaudited(25), "audits", "red",
     "1 series wait for their audits", "audit_mark_price"),
    ("data that nobody has ever collected", long_since, "freshness funding_rate", "red",
     "nothing collected yet", "ingest_funding_rate"),
    ("rows that no audit has looked at", unaudited(4), "audits", "yellow",
     "1 series wait for their audits", "audit_mark_price"),
    ("a staging orphan", staged(7), "staging", "yellow",
     "1 batches were begun and not published, the oldest 7.0 h ago", "reports of the runs"),
    ("a staging orphan that nobody sweeps", staged(49), "staging", "red",
     "the oldest 2 days ago", "reports of the runs"),
    ("a silent stream", silent_stream(100), "stream", "yellow",
     "mine holds the lease .* says nothing of itself, for 1.. s now", "A new stream takes over"),
    ("a mute stream", silent_stream(1000), "stream", "red",
     "says nothing of itself, for 17 min now", "A new stream takes over"),
    ("an ended stream", ended_stream, "stream", "red", "none runs; mine wrote until 10. s ago", "stream_market"),
    ("undrained liquidations", undrained, "liquidations", "red",
     "1 entries wait in Redis .* the oldest for 7.0 h", "ingest_liquidations"),
]  # fmt: skip


@pytest.mark.parametrize(("inject", "title", "level", "cause", "advice"), [row[1:] for row in CAUSES],
                         ids=[row[0] for row in CAUSES])  # fmt: skip
def test_a_cause_is_found_with_its_level_and_what_to_do(
    house: House, inject: Callable[[House], None], title: str, level: str, cause: str, advice: str
) -> None:
    before = house.look()
    assert {str(finding.level) for check, finding in before.items() if not check.startswith("freshness")} == {"green"}
    inject(house)
    found = house.look()[title.format(host=house.host)]
    assert (str(found.level), bool(re.search(cause, found.cause)), bool(re.search(advice, found.advice))) == (
        level,
        True,
        True,
    ), found


def test_every_check_is_in_the_table_but_what_others_hold() -> None:
    # Minutes in which nobody listened: test_health_stream has whole days of them.
    assert {title.split(" ")[0] for _, _, title, *_ in CAUSES} == {check.name for check in CHECKS} - {"listening"}


def test_what_the_database_s_server_keeps_to_itself_leaves_our_own_folder_s_room(
    house: House, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERPFLOW_HOME", str(tmp_path / "not" / "made"))
    revoked_right(house)
    found = house.look()["disk"]
    assert f"where Perpflow's own files are ({tmp_path})" in found.cause
    assert "the database takes" in found.cause
    house.set(database_url="postgresql://nobody@127.0.0.1:1/none")
    assert "the database does not say its size" in house.look()["disk"].cause


def test_what_waits_in_quarantine_is_found_by_an_index_however_much_was_decided(house: House) -> None:
    house.sql(
        "INSERT INTO quarantine (batch, dataset, symbol, series, time, expectation, reason, source, row, row_hash, "
        "quarantined_at, decision, note, reviewed_at, settled_at) "
        "SELECT 'b', 'ohlcv', 'SOL/USDT', '5m', now(), 'e', 'r', 'rest', '{}', n, now() - interval '20 days', "
        "'rejected', 'n', now(), now() FROM generate_series(1, 5000) n"
    )
    with session(house.deployment.database_url) as connection:
        connection.execute("ANALYZE quarantine")
        for name in ("health_quarantine", "health_withheld"):
            plan = connection.execute(b"EXPLAIN " + query(name).as_bytes(connection)).fetchall()
            lines = [str(row["QUERY PLAN"]) for row in plan]
            # Both hold what waits and nothing else.
            assert any("quarantine_undecided" in line or "quarantine_waiting" in line for line in lines), lines
            assert not any("Seq Scan on quarantine" in line for line in lines), lines


def test_a_row_that_was_marked_by_hand_before_there_were_decisions_waits_for_nobody(house: House) -> None:
    withheld(20)(house)
    house.sql("UPDATE quarantine SET reviewed_at = now()")
    assert house.look()["quarantine"].cause == "no row waits for a review"


async def test_whatever_ends_a_check_is_a_finding_that_names_it_and_its_error(house: House) -> None:
    async def broken(_: Surroundings) -> list[Finding]:
        raise TimeoutError("of something")

    async with surroundings(house.deployment) as around:
        (finding,) = await found_by(Check("disk", broken), around)
    assert (str(finding.level), finding.blocks) == ("red", True)
    assert finding.cause == "the check disk ended with TimeoutError: of something"
