"""check_health and late runs in a real Airflow with a webhook: told once, also while the market database is away."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from perpflow.health.news import LOOKS_TO_END
from tests.receivers import Mailbox, Webhook, mailbox, webhook
from tests.running_airflow import Airflow, awaited, running_airflow

pytestmark = pytest.mark.timeout(900)

#: Runs come when the test triggers them; and each run of ingest_* is late, for starting its tasks takes longer.
COLLECTION = """
symbols: [SOL/USDT]
health: {schedule: "0 0 1 1 *", ingest_deadline_minutes: 0.05}
datasets: {funding_rate: {schedule: "0 0 1 1 *"}}
alerts:
  - {kind: webhook, connection: hook}
  - {kind: smtp, connection: mail, to: me@example.com, level: yellow}
  - {kind: slack, connection: nowhere}
"""
SLACK = "slack nowhere: collection.yaml's alerts want Slack, and apache-airflow-providers-slack is not installed."


@pytest.fixture(scope="module")
def hook() -> Iterator[Webhook]:
    with webhook() as kept:
        yield kept


@pytest.fixture(scope="module")
def mail() -> Iterator[Mailbox]:
    with mailbox() as kept:
        yield kept


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory, hook: Webhook, mail: Mailbox) -> Iterator[Airflow]:
    """An Airflow of its own, whose collection.yaml and connections are ours."""
    state = tmp_path_factory.mktemp("airflow")
    collection = tmp_path_factory.mktemp("include") / "collection.yaml"
    collection.write_text(COLLECTION)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERPFLOW_COLLECTION", str(collection))
        patch.setenv("AIRFLOW_CONN_HOOK", hook.connection())
        patch.setenv("AIRFLOW_CONN_MAIL", mail.connection())
        with running_airflow(state) as started:
            started.client.pause("check_health", paused=False)
            # The one run that its schedule owes.
            awaited(lambda: started.client.run_states("check_health"), lambda states: "running" not in states.values())
            yield started


def look(airflow: Airflow) -> tuple[str, str]:
    """The state of one more run of check_health, and the end of its task's log."""
    run, state = airflow.run("check_health", {})
    (task,) = airflow.tasks("check_health", run)
    found = airflow.client.returned("check_health", run, "check", "findings")
    assert {"level", "green", "checks"} == set(found)
    return state, "\n".join(airflow.client.log_tail("check_health", run, task, 100))


def lock(airflow: Airflow, *, away: bool) -> None:
    """Let nobody into the market database, or everybody; Airflow's own stays as it is."""
    address = urlsplit(airflow.database_url)
    name = address.path.removeprefix("/")
    with psycopg.connect(urlunsplit(address._replace(path="/postgres")), autocommit=True) as admin:
        admin.execute(
            sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(sql.Identifier(name), sql.Literal(not away))
        )
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])


def test_a_recipient_that_cannot_be_reached_makes_the_task_red_before_it_matters_and_says_why(
    airflow: Airflow, hook: Webhook
) -> None:
    state, log = look(airflow)
    assert state == "failed"
    assert f"not told: {SLACK}" in log
    assert "red:" not in log
    assert hook.posted == []


def test_yellow_is_told_to_who_asked_for_it_alone_and_once(airflow: Airflow, hook: Webhook, mail: Mailbox) -> None:
    look(airflow)
    assert len(mail.mails) == 1
    assert "yellow: freshness ohlcv" in " ".join(mail.mails[0]["Subject"].split())
    assert hook.posted == []


def test_a_red_check_makes_the_task_red_with_its_name_and_is_told_once(airflow: Airflow, hook: Webhook) -> None:
    fault = airflow.exchange.add_fault("status", code=503, match="prefix=")
    for _ in range(2):
        state, log = look(airflow)
        assert state == "failed"
        assert "red: archive: " in log
        assert hook.subjects == ["Perpflow red: archive"]
    airflow.exchange.remove_fault(fault)


def test_a_market_database_that_is_away_is_told_once_too_and_its_return(airflow: Airflow, hook: Webhook) -> None:
    hook.posted.clear()
    lock(airflow, away=True)
    for _ in range(3):
        state, log = look(airflow)
        assert state == "failed"
        assert "red: database: " in log
    lock(airflow, away=False)
    for _ in range(LOOKS_TO_END + 1):
        look(airflow)
    # Whatever else a look finds on a busy machine.
    of_database = [subject for subject in hook.subjects if "database" in subject]
    assert of_database == ["Perpflow red: database", "Perpflow green again: database"]
    told = airflow.rows("SELECT finding, level FROM alerts WHERE recipient = 'webhook hook' AND finding = 'database'")
    assert told == [("database", "green")]


def test_a_late_run_of_ingest_is_told_by_the_triggerer_and_its_end_by_check_health(
    airflow: Airflow, hook: Webhook, mail: Mailbox
) -> None:
    hook.posted.clear()
    mail.mails.clear()
    airflow.client.pause("ingest_funding_rate", paused=False)
    # After the one that its schedule owes, which is late too: what is told already is not told again.
    airflow.run("ingest_funding_rate", {})
    late = awaited(lambda: list(hook.posted), len, timeout_s=120)[0]
    assert late["subject"] == "Perpflow red: late ingest_funding_rate"
    assert " UTC and is not done 0.05 minutes later" in late["news"][0]["cause"]
    assert awaited(lambda: mail.mails, len, timeout_s=30)
    awaited(
        lambda: {*airflow.client.run_states("ingest_funding_rate").values()},
        lambda states: states <= {"success", "failed"},
        timeout_s=120,
    )
    for _ in range(LOOKS_TO_END):
        look(airflow)
    # Two that are late at the same instant may both tell it.
    assert {*hook.subjects[:-1]} == {late["subject"]}
    assert hook.subjects[-1] == "Perpflow green again: late ingest_funding_rate"
