"""Health: each cause turns its check red (or yellow), and the check is green again when the cause is gone.

Services, exchange and faults are real; what a clock would have to run for is moved in Redis or at the exchange.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from urllib.request import urlopen

import pytest
import redis as redis_sync
from redis.asyncio import Redis

from perpflow import embedded, pipeline, sessions
from perpflow.counters import COUNTS, Counts
from perpflow.datasets import DATASETS
from perpflow.exchange.shared_budget import SharedBudget, state_key
from perpflow.exchange.weight_budget import OPEN_AFTER, Share
from perpflow.health.examination import CHECKS, examine
from perpflow.health.finding import Finding, Level
from perpflow.settings import Deployment
from perpflow.store.cache import export_counts, minute_key, open_redis, this_minute
from perpflow.store.database import session, to_multirange
from perpflow.windows import Window
from simulator.process import Handle, running
from tests.loading import deployment_of, ingest

ROOT = Path(__file__).resolve().parents[2]
NOBODY = "http://127.0.0.1:1"
#: Checks that can't tell anything without Redis, and what those that need the exchange's clock say without it.
OF_REDIS = ("budget", "bans", "circuits", "errors", "stream", "liquidations", "listening")
OF_CLOCK = dict.fromkeys(("freshness", "holes", "listening"), "yellow")


@pytest.fixture(scope="module")
def own_redis_url(redis_url: str) -> str:
    """A database of the session's Redis that only this module writes to."""
    return urlunsplit(urlsplit(redis_url)._replace(path="/8"))


@pytest.fixture(scope="module")
def _collected(database_url: str, exchange: Handle) -> None:
    """One symbol, brought up to the exchange's minute."""
    for dataset in DATASETS:
        ingest(deployment_of(database_url, exchange, symbols=["SOL/USDT"]), dataset, f"health|{dataset}")


@pytest.fixture
def deployment(database_url: str, exchange: Handle, own_redis_url: str, _collected: None) -> Iterator[Deployment]:
    """Everything is as it should be: the archive is another host than REST, as the real one is."""
    with redis_sync.Redis.from_url(own_redis_url) as client:
        client.flushdb()
        COUNTS.take("redis")
        made = deployment_of(database_url, exchange, symbols=["SOL/USDT"], stream={"liquidations": False})
        elsewhere = exchange.url.replace("127.0.0.1", "localhost")
        yield made.model_copy(update={"redis_url": own_redis_url, "archive_url": elsewhere})
        exchange.clear_faults()
        exchange.clear_requests()
        client.flushdb()


def host_of(deployment: Deployment) -> str:
    return urlsplit(deployment.rest_url).netloc


def look(deployment: Deployment, **otherwise: Any) -> dict[str, Finding]:
    """The findings by title, as a fresh process has them."""
    sessions.process_budget.cache_clear()
    return {finding.title: finding for finding in examine(deployment.model_copy(update=otherwise))}


def look_alone(deployment: Deployment) -> dict[str, Finding]:
    """As `look`, where limits can't be shared: with all of them, a process that has just lost the others waits."""
    exchange = deployment.collection.exchange.model_copy(update={"rate_share": 0.5})
    return look(deployment, collection=deployment.collection.model_copy(update={"exchange": exchange}))


def not_green(findings: dict[str, Finding]) -> dict[str, str]:
    return {title: str(finding.level) for title, finding in findings.items() if finding.level is not Level.GREEN}


@contextmanager
def shared(deployment: Deployment) -> Iterator[redis_sync.Redis]:
    assert deployment.redis_url
    with redis_sync.Redis.from_url(deployment.redis_url) as client:
        yield client


def tell(deployment: Deployment, told: Callable[[SharedBudget, Redis], Any]) -> None:
    """What other processes on the address have learned of REST's host."""

    async def run() -> None:
        assert deployment.redis_url
        async with open_redis(deployment.redis_url) as redis:
            await told(SharedBudget(redis, "default", host_of(deployment)), redis)

    asyncio.run(run())


def test_everything_is_green_where_nothing_is_wrong(deployment: Deployment) -> None:
    findings = look(deployment)
    assert not_green(findings) == {}
    assert {finding.check for finding in findings.values()} == {check.name for check in CHECKS}
    assert {finding.subject for finding in findings.values() if finding.check == "freshness"} == set(DATASETS)


# --- services


def test_a_database_and_a_redis_that_are_stopped_are_red_and_green_when_they_run_again(
    tmp_path_factory: pytest.TempPathFactory, deployment: Deployment
) -> None:
    state = tmp_path_factory.mktemp("health")
    try:
        services = embedded.start(state)
        own = deployment.model_copy(update={"database_url": services.database.url, "redis_url": services.redis.url})
        pipeline.migrate(own)
        unknown = {f"freshness {name}": "yellow" for name in DATASETS}
        assert not_green(look(own)) == unknown
        embedded.stop(state)
        findings = look_alone(own)
        waiting = ("schema", *OF_REDIS, "freshness", "holes", "withheld", "quarantine", "staging", "audits")
        assert not_green(findings) == {"database": "red", "redis": "red"} | dict.fromkeys(waiting, "yellow")
        for check in ("database", "redis"):
            assert "does not answer" in findings[check].cause
            assert "services status" in findings[check].advice
        assert findings["budget"].cause == "not known: see redis"
        embedded.start(state)
        assert not_green(look(own)) == unknown
        with shared(own) as client:
            client.config_set("appendonly", "no")
            assert "a restart forgets" in look(own)["redis"].cause
    finally:
        embedded.discard(state)


def test_without_redis_the_rest_is_still_looked_at(deployment: Deployment) -> None:
    findings = look(deployment, redis_url=None)
    assert not_green(findings) == dict.fromkeys(("redis", *OF_REDIS), "yellow")
    assert "PERPFLOW_REDIS_URL" in findings["redis"].advice


def test_a_database_that_was_never_migrated_is_red_until_it_is(
    unmigrated_url: Callable[[], AbstractContextManager[str]], deployment: Deployment
) -> None:
    with unmigrated_url() as url:
        findings = look(deployment, database_url=url)
        assert findings["schema"].level is Level.RED
        assert "perpflow migrate" in findings["schema"].advice
        pipeline.migrate(deployment.model_copy(update={"database_url": url}))
        assert look(deployment, database_url=url)["schema"].level is Level.GREEN


def test_a_migration_that_has_not_run_is_named(deployment: Deployment, empty_database_url: str) -> None:
    with session(empty_database_url) as connection:
        connection.execute("DELETE FROM schema_migrations WHERE name = '0006_recheck.sql'")
    found = look(deployment, database_url=empty_database_url)["schema"]
    assert found.level is Level.RED
    assert "0006_recheck.sql" in found.cause


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("min-replicas-to-write", 3, "Redis takes no writes: NOREPLICAS Not enough good replicas to write"),
        ("maxmemory", 1, "Redis' memory is full ("),
    ],
)
def test_a_redis_that_takes_no_writes_is_red_in_its_own_words_until_it_does(
    deployment: Deployment, option: str, value: int, said: str
) -> None:
    with shared(deployment) as client:
        before = client.config_get(option)[option]
        client.config_set(option, value)
        try:
            findings = look_alone(deployment)
        finally:
            client.config_set(option, before)
    assert not_green(findings) == {"redis": "red"} | dict.fromkeys(OF_REDIS, "yellow")
    assert findings["redis"].cause.startswith(said)
    assert findings["redis"].advice
    assert not_green(look(deployment)) == {}


Damage = Callable[[redis_sync.Redis, str], Any]
FAR = "99999999999999"


@pytest.mark.parametrize(
    ("damage", "of", "said"),
    [
        (lambda client, key: client.hset(key, "blocked_until", "abc"), "", "'abc' for blocked_until"),
        (lambda client, key: client.hset(key, "limit:weight", "abc"), "", "'abc' for limit:weight"),
        (lambda client, key: client.hset(key, "blocked_until", FAR), "", "blocked_until without blocked_by"),
        (lambda client, key: client.hset(key, "blocked_until", "1e300"), "", "1e300"),
        (lambda client, key: client.set(key, "text"), "", "another type"),
        (lambda client, key: client.zadd(key, {"x": 2**42}), ":weight", "'x' at 4"),
        (lambda client, key: client.zadd(key, {"1:x": 1}), ":statistics", "'1:x' at 1"),
        (lambda client, key: client.set(key, "text"), ":weight", "another type"),
    ],
)
def test_a_damaged_state_of_a_host_is_red_with_its_key_until_that_is_deleted(
    deployment: Deployment, damage: Damage, of: str, said: str
) -> None:
    key = state_key("default", host_of(deployment)) + of
    with shared(deployment) as client:
        damage(client, key)
        findings = look_alone(deployment)
        assert not_green(findings) == dict.fromkeys(("budget", "bans", "circuits"), "red")
        for check in ("budget", "bans", "circuits"):
            assert f"Redis' key {key} holds " in findings[check].cause
            assert said in findings[check].cause
            assert f"redis-cli DEL {key}" in findings[check].advice
        client.delete(key)
    assert not_green(look(deployment)) == {}


@pytest.mark.parametrize(
    "damage",
    [lambda client, key: client.hset(key, "requests.klines", "abc"), lambda client, key: client.set(key, "text")],
    ids=["no number", "another type"],
)
def test_damaged_counts_are_red_with_their_key_until_it_is_deleted(deployment: Deployment, damage: Damage) -> None:
    key = minute_key(this_minute() - 3)
    with shared(deployment) as client:
        damage(client, key)
        findings = look(deployment)
        assert not_green(findings) == dict.fromkeys(("errors", "liquidations"), "red")
        assert f"Redis' key {key} holds " in findings["errors"].cause
        assert f"redis-cli DEL {key}" in findings["errors"].advice
        client.delete(key)
    assert not_green(look(deployment)) == {}


# --- the exchange


@pytest.mark.parametrize(
    ("time", "said"),
    [
        (253402300799999, "the exchange's clock says 9999-12-31"),
        (4102444800000, "the exchange's clock says 2100-01-01"),
        (0, "the exchange's clock says 1970-01-01"),
        (1, "the exchange's clock says 1970-01-01"),
        (True, "the exchange's clock says True"),
    ],
)
def test_a_clock_that_says_what_no_clock_does_is_red(
    deployment: Deployment, exchange: Handle, time: object, said: str
) -> None:
    exchange.add_fault("status", code=200, match="/fapi/v1/time", body={"serverTime": time})
    findings = look(deployment)
    assert not_green(findings) == {"exchange": "red", **OF_CLOCK}
    assert said in findings["exchange"].cause


@pytest.mark.parametrize(
    ("check", "match", "code", "said"),
    [
        ("exchange", "/fapi/v1/time", 503, "503"),
        ("exchange", "/fapi/v1/time", 451, "451"),
        ("archive", "prefix=", 503, "503"),
        ("archive", "prefix=", 403, "403"),
    ],
)
def test_a_source_that_refuses_is_red_until_it_answers(
    deployment: Deployment, exchange: Handle, check: str, match: str, code: int, said: str
) -> None:
    exchange.add_fault("status", code=code, match=match)
    found = look(deployment)[check]
    assert found.level is Level.RED
    assert said in found.cause
    assert found.advice
    exchange.clear_faults()
    assert look(deployment)[check].level is Level.GREEN


def test_an_exchange_that_is_down_is_red_until_it_is_back_and_what_needs_its_clock_is_not_known(
    deployment: Deployment,
) -> None:
    with running() as first:
        port = urlsplit(first.url).port
        there = {"rest_url": first.url, "archive_url": first.url}
        assert not_green(look(deployment, **there)) == {}
    assert port is not None
    assert not_green(look(deployment, **there)) == {"exchange": "red", "archive": "red", **OF_CLOCK}
    with running(port=port):
        assert not_green(look(deployment, **there)) == {}


def test_a_ban_is_red_with_its_end_and_nothing_is_sent_meanwhile(deployment: Deployment, exchange: Handle) -> None:
    banned = exchange.add_fault("status", code=418, match="/fapi/v1/time", headers={"Retry-After": "77"}, body={})
    findings = look(deployment)
    assert findings["exchange"].level is Level.RED
    host = host_of(deployment)
    assert findings[f"bans {host}"].level is Level.RED
    assert "is banned until" in findings[f"bans {host}"].cause
    exchange.remove_fault(banned)
    exchange.clear_requests()
    assert look(deployment)[f"bans {host}"].level is Level.RED
    assert "/fapi" not in json.dumps(exchange.requests()["paths"])
    with shared(deployment) as client:
        client.hset(state_key("default", host), "blocked_until", "1")
    assert not_green(look(deployment)) == {}


def test_being_held_back_is_yellow(deployment: Deployment, exchange: Handle) -> None:
    exchange.add_fault("status", code=429, match="/fapi/v1/time", headers={"Retry-After": "77"}, body={}, times=1)
    findings = look(deployment)
    host = host_of(deployment)
    assert not_green(findings) == {"exchange": "yellow", f"bans {host}": "yellow", **OF_CLOCK}
    with shared(deployment) as client:
        client.hset(state_key("default", host), "blocked_until", "1")
    assert not_green(look(deployment)) == {}


def test_an_open_circuit_is_red_until_an_answer_has_closed_it(deployment: Deployment) -> None:
    async def fail(budget: SharedBudget, _: Redis) -> None:
        for _ in range(OPEN_AFTER):
            await budget.failed()

    tell(deployment, fail)
    findings, host = look(deployment), host_of(deployment)
    assert not_green(findings) == {"exchange": "red", f"circuits {host}": "red", **OF_CLOCK}
    assert f"open, last opened {datetime.now(UTC):%Y-%m-%d}" in findings[f"circuits {host}"].cause
    assert f"{OPEN_AFTER} failures in a row" in findings[f"circuits {host}"].cause
    with shared(deployment) as client:
        # Its time is over, and somebody else's request is on its way to try the host.
        client.hset(state_key("default", host), mapping={"open_until": "1", "probe_until": str(2**45)})
        assert look(deployment)[f"circuits {host}"].cause.startswith("half-open")
        client.hdel(state_key("default", host), "probe_until")
    # Our own request tries it, and closes it.
    assert not_green(look(deployment)) == {}


def test_a_share_that_is_nearly_spent_is_yellow(deployment: Deployment) -> None:
    spend = Share(1.0, live=True)
    tell(deployment, lambda budget, _: budget.ask("statistics", 960, spend))
    findings = look(deployment)
    assert not_green(findings) == {"budget": "yellow"}
    assert "statistics 960 of our 1,000" in findings["budget"].cause
    with shared(deployment) as client:
        client.delete(f"{state_key('default', host_of(deployment))}:statistics")
    assert not_green(look(deployment)) == {}


def test_a_limit_that_others_on_the_address_have_exceeded_is_red(deployment: Deployment, exchange: Handle) -> None:
    tell(deployment, lambda budget, _: budget.adopt("weight", 50))
    for _ in range(6):
        with urlopen(f"{exchange.url}/fapi/v1/premiumIndex", timeout=10) as answer:  # noqa: S310  weight 10
            assert answer.status == 200
    found = look(deployment)["budget"]
    assert found.level is Level.RED
    assert "others 60" in found.cause
    exchange.clear_requests()
    with shared(deployment) as client:
        client.hset(state_key("default", host_of(deployment)), "others_until", "1")
    assert not_green(look(deployment)) == {}


def test_many_errors_among_all_processes_requests_are_red_and_yellow_once_they_are_over(
    deployment: Deployment,
) -> None:
    counts = Counts()
    counts.count("requests.klines", 60)
    counts.count("errors.ExchangeUnavailable", 30)
    tell(deployment, lambda _, redis: export_counts(redis, counts))
    findings = look(deployment)
    assert not_green(findings) == {"errors": "red"}
    assert "30 ExchangeUnavailable" in findings["errors"].cause
    with shared(deployment) as client:
        (key,) = (
            key for key in client.keys("perpflow:counters:*") if client.hexists(key, "errors.ExchangeUnavailable")
        )
        earlier = int(key.rpartition(b":")[2]) - 30
        client.rename(key, f"perpflow:counters:{earlier}")
        assert look(deployment)["errors"].level is Level.YELLOW
        client.delete(f"perpflow:counters:{earlier}")
    assert not_green(look(deployment)) == {}


# --- data


def test_data_that_is_left_behind_is_red_until_it_is_collected(deployment: Deployment, exchange: Handle) -> None:
    later = exchange.now + timedelta(hours=9)
    try:
        exchange.set_now(later)
        findings = look(deployment)
        assert not_green(findings) == {f"freshness {name}": "red" for name in DATASETS}
        assert "SOL/USDT 1h, which ends at 2026-10-15 12:00 UTC, 9:00 h behind" in findings["freshness ohlcv"].cause
        assert "ingest_ohlcv" in findings["freshness ohlcv"].advice
        for dataset in DATASETS:
            ingest(deployment, dataset, f"late|{dataset}")
        assert not_green(look(deployment)) == {}
    finally:
        exchange.set_now(exchange.now)


def test_what_ends_where_its_market_closes_is_not_late_before_that_opens(
    deployment: Deployment, exchange: Handle
) -> None:
    with session(deployment.database_url) as connection, running(now=exchange.now + timedelta(days=2)) as later:
        there = {"rest_url": later.url, "archive_url": later.url}
        # From before the end of every series.
        closed = [Window(exchange.now - timedelta(days=2), later.now)]
        connection.execute(
            "INSERT INTO market_sessions (market, known, closed) VALUES ('COIN', %s, %s)",
            [to_multirange(closed), to_multirange(closed)],
        )
        assert not_green(look(deployment, **there)) == {}
        connection.execute("DELETE FROM market_sessions")
        assert not_green(look(deployment, **there)) == {f"freshness {name}": "red" for name in DATASETS}


def test_a_run_or_two_that_failed_are_no_alarm(deployment: Deployment, exchange: Handle) -> None:
    with running(now=exchange.now + timedelta(minutes=5)) as a_little_later:
        there = {"rest_url": a_little_later.url, "archive_url": a_little_later.url}
        assert not_green(look(deployment, **there)) == {}


def test_what_was_never_collected_is_yellow_with_the_command_that_does(
    deployment: Deployment, empty_database_url: str
) -> None:
    findings = look(deployment, database_url=empty_database_url)
    assert not_green(findings) == {f"freshness {name}": "yellow" for name in DATASETS}
    assert "python -m perpflow ingest --datasets ohlcv" in findings["freshness ohlcv"].advice


def test_a_symbol_that_was_added_and_not_collected_yet_is_yellow(deployment: Deployment) -> None:
    more = deployment.collection.model_copy(update={"symbols": ("SOL/USDT", "BTC/USDT")})
    assert not_green(look(deployment, collection=more)) == {f"freshness {name}": "yellow" for name in DATASETS}


@pytest.mark.parametrize(("ago", "level"), [(28, "red"), (20, "yellow"), (1, None), (40, None)])
def test_a_hole_that_rest_can_still_fill_is_told_before_it_is_too_late(
    deployment: Deployment, exchange: Handle, ago: int, level: str | None
) -> None:
    begins, now = exchange.now - timedelta(days=60), exchange.now
    hole = exchange.now - timedelta(days=ago)
    with session(deployment.database_url) as connection:
        (kept,) = connection.execute("SELECT present FROM coverage WHERE dataset = 'open_interest'").fetchall()
        punched = to_multirange([Window(begins, hole), Window(hole + timedelta(hours=2), now)])
        connection.execute("UPDATE coverage SET present = %s WHERE dataset = 'open_interest'", [punched])
        findings = look(deployment)
        connection.execute("UPDATE coverage SET present = %(present)s WHERE dataset = 'open_interest'", kept)
    assert not_green(findings) == ({"holes": level} if level else {})
    if level:
        assert (
            "1 series lack points that REST forgets in time; first open_interest SOL/USDT 5m" in findings["holes"].cause
        )
        assert "python -m perpflow repair" in findings["holes"].advice


WITHHELD = """
INSERT INTO quarantine (batch, dataset, symbol, series, time, expectation, reason, source, row, row_hash)
SELECT 'b', 'ohlcv', 'SOL/USDT', '5m', now(), expectation, 'high below low', 'rest', '{}', 1
FROM unnest(ARRAY['high_is_the_highest', 'low_is_the_lowest']) AS expectation
"""


def test_rows_in_quarantine_are_yellow_until_they_are_reviewed(deployment: Deployment) -> None:
    with session(deployment.database_url) as connection:
        connection.execute(WITHHELD)
        findings = look(deployment)
        assert not_green(findings) == {"withheld": "yellow"}
        assert "1 rows of 1 batches are in quarantine (ohlcv)" in findings["withheld"].cause
        assert "python -m perpflow quarantine list" in findings["withheld"].advice
        connection.execute("UPDATE quarantine SET reviewed_at = now()")
        assert not_green(look(deployment)) == {}


def test_what_is_released_and_not_published_within_an_hour_is_yellow(deployment: Deployment) -> None:
    released = "UPDATE quarantine SET decision = 'released', note = 'n', reviewed_at = now() - interval '{}'"
    with session(deployment.database_url) as connection:
        connection.execute(WITHHELD + "ON CONFLICT DO NOTHING")
        connection.execute(released.format("59 minutes").encode())
        assert not_green(look(deployment)) == {}
        connection.execute(released.format("61 minutes").encode())
        findings = look(deployment)
        connection.execute("UPDATE quarantine SET settled_at = now()")
    assert not_green(findings) == {"withheld": "yellow"}
    assert "rows are released and not published" in findings["withheld"].cause


# --- the command


def environment(deployment: Deployment, tmp_path: Path) -> dict[str, str]:
    collection = tmp_path / "collection.yaml"
    collection.write_text("symbols: [SOL/USDT]\nstream: {liquidations: false}\n")
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT / "plugins"), *sys.path]),
        "PERPFLOW_HOME": str(tmp_path / "state"),
        "PERPFLOW_DATABASE_URL": deployment.database_url,
        "PERPFLOW_REDIS_URL": deployment.redis_url or "",
        "PERPFLOW_REST_URL": deployment.rest_url,
        "PERPFLOW_ARCHIVE_URL": deployment.archive_url,
        "PERPFLOW_COLLECTION": str(collection),
    }


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "perpflow", "health", *arguments]


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def test_the_command_ends_with_zero_and_json_for_monitors_where_nothing_is_red(
    deployment: Deployment, tmp_path: Path
) -> None:
    done = run(environment(deployment, tmp_path), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    assert said["level"] == "green"
    assert {check["level"] for check in said["checks"]} == {"green"}


def test_the_command_ends_with_one_and_a_line_that_says_what_to_do_where_the_database_is_down(
    deployment: Deployment, tmp_path: Path
) -> None:
    nowhere = {"PERPFLOW_DATABASE_URL": "postgresql://keeper:secret@127.0.0.1:1/nowhere"}
    done = run(environment(deployment, tmp_path) | nowhere)
    assert (done.returncode, done.stderr) == (1, "")
    assert "red    database: the market database does not answer" in done.stdout
    assert "services status" in done.stdout
    assert "secret" not in done.stdout


@pytest.mark.parametrize(
    "arguments", [("--continuous", "0"), ("--continuous", "often"), ("--continuous", "1e12"), ("--jsonn",)]
)
def test_the_command_ends_with_two_where_its_arguments_make_no_sense(
    deployment: Deployment, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    assert run(environment(deployment, tmp_path), *arguments).returncode == 2


@pytest.mark.parametrize("still_wrong", [False, True])
def test_looking_again_and_again_says_what_changes_and_ends_with_the_last_code(
    deployment: Deployment, exchange: Handle, tmp_path: Path, still_wrong: bool
) -> None:
    line, variables = command("--continuous", "0.1"), environment(deployment, tmp_path)
    # What a shell starts in the background ignores Ctrl-C, and so would its child.
    heeds = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(line, env=variables, stdout=subprocess.PIPE, text=True, preexec_fn=heeds) as process:
        assert process.stdout is not None
        first = [process.stdout.readline() for _ in range(len(CHECKS) + len(DATASETS) - 1)]
        assert {said.split()[0] for said in first} == {"green"}
        exchange.add_fault("status", code=503, match="prefix=")
        assert process.stdout.readline().startswith("red    archive: ")
        if not still_wrong:
            exchange.clear_faults()
            while not (said := process.stdout.readline()).startswith("green  archive: "):
                assert said
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == (1 if still_wrong else 0)


DISPUTED = """
INSERT INTO audit_findings (audit, dataset, symbol, series, "window", severity, "column")
VALUES ('cross_timeframe', 'ohlcv', 'SOL/USDT', '1h', '[2026-10-11 06:00Z,2026-10-11 07:00Z)', 'critical', 'high')
"""
UNAUDITED = "UPDATE coverage SET unaudited_since = now() - interval '4 hours' WHERE dataset = 'ohlcv'"
AUDITED = "UPDATE coverage SET unaudited_since = NULL"


def test_what_audits_dispute_is_red_and_what_waits_for_them_for_hours_is_yellow(deployment: Deployment) -> None:
    with session(deployment.database_url) as connection:
        connection.execute(UNAUDITED)
        findings = look(deployment)
        assert not_green(findings) == {"audits": "yellow"}
        assert "audit_ohlcv" in findings["audits"].advice
        connection.execute(AUDITED)
        connection.execute(DISPUTED)
        findings = look(deployment)
        assert not_green(findings) == {"audits": "red"}
        assert "1 critical findings are open" in findings["audits"].cause
        connection.execute("DELETE FROM audit_findings")
        assert not_green(look(deployment)) == {}
