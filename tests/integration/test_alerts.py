"""Telling of findings for real: mail over SMTP, webhooks over HTTP, what was told in PostgreSQL; and being killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from perpflow.errors import BadConfiguration
from perpflow.health.finding import Finding, Level
from perpflow.health.news import Message
from perpflow.health.telling import Place, TableOfAlerts, tell
from perpflow.monitoring import AlertSettings
from perpflow.orchestration.notifiers import require_package, send
from perpflow.store.database import session
from tests.receivers import Mailbox, Webhook, mailbox, webhook

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 10, 15, 12, 34, 56, tzinfo=UTC)
DAY = timedelta(days=1)
MAIL = AlertSettings(kind="smtp", connection="test_mail", to=("me@example.com", "you@example.com"))
HOOK = AlertSettings(kind="webhook", connection="test_hook", level="yellow")
RED = Finding(Level.RED, "nobody <answers> {{ 1 / 0 }}", "Look & see.", check="exchange")
GREEN = Finding(Level.GREEN, "it answers", check="exchange")
NOWHERE = TableOfAlerts("postgresql://nobody@127.0.0.1:1/none")


@pytest.fixture
def mail(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    with mailbox() as kept:
        monkeypatch.setenv("AIRFLOW_CONN_TEST_MAIL", kept.connection())
        yield kept


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    with webhook() as kept:
        monkeypatch.setenv("AIRFLOW_CONN_TEST_HOOK", kept.connection(password="t0ken", extra={"headers": {"X-A": "b"}}))
        yield kept


def told(*places: Place, findings: tuple[Finding, ...] = (RED,), at: datetime = NOW) -> list[str]:
    return tell((MAIL, HOOK), list(findings), places, send, at, DAY)


def test_mail_and_webhook_get_the_finding_with_the_connection_s_secrets_and_once(
    empty_database_url: str, mail: Mailbox, hook: Webhook
) -> None:
    table = TableOfAlerts(empty_database_url)
    assert told(table) == []
    assert told(table, at=NOW + timedelta(minutes=5)) == []
    (sent,) = mail.mails
    assert (sent["From"], sent["To"]) == ("perpflow@example.com", "me@example.com, you@example.com")
    assert sent["Subject"] == "Perpflow red: exchange"
    (part,) = (part for part in sent.walk() if part.get_content_type() == "text/html")
    content = part.get_payload(decode=True)
    # As it is: it is no template, and no HTML.
    assert b"exchange: red: nobody &lt;answers&gt; {{ 1 / 0 }}. Look &amp; see." in content  # type: ignore[operator]
    assert mail.logins == [("me", "s3cret")]
    (posted,) = hook.posted
    assert posted["news"][0]["cause"] == RED.cause
    assert hook.paths == ["/hook?key=secret"]
    assert (hook.headers[0]["Authorization"], hook.headers[0]["X-A"]) == ("Bearer t0ken", "b")


def test_what_stays_red_is_told_again_after_a_day_and_its_end_is_told(
    empty_database_url: str, mail: Mailbox, hook: Webhook
) -> None:
    table = TableOfAlerts(empty_database_url)
    for findings, at in (((RED,), NOW), ((RED,), NOW + DAY), ((GREEN,), NOW + 2 * DAY), ((GREEN,), NOW + 3 * DAY)):
        assert told(table, findings=findings, at=at) == []
    assert hook.subjects == ["Perpflow red: exchange"] * 2 + ["Perpflow green again: exchange"]
    assert "still red since 2026-10-15 12:34 UTC" in hook.posted[1]["text"]
    assert len(mail.mails) == 3
    with session(empty_database_url) as connection:
        rows = connection.execute("SELECT recipient, finding, level, told_at FROM alerts ORDER BY recipient").fetchall()
    assert [tuple(row.values()) for row in rows] == [
        ("smtp test_mail me@example.com you@example.com", "exchange", "green", NOW + 2 * DAY),
        ("webhook test_hook", "exchange", "green", NOW + 2 * DAY),
    ]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_while_the_database_is_away_another_place_remembers_and_both_agree_afterwards(
    empty_database_url: str, database_url: str, mail: Mailbox, hook: Webhook, order: tuple[int, int]
) -> None:
    other, table = TableOfAlerts(empty_database_url), TableOfAlerts(database_url)
    with session(database_url) as connection:
        connection.execute("TRUNCATE alerts")
    away, back = [(NOWHERE, other)[n] for n in order], [(table, other)[n] for n in order]
    down = Finding(Level.RED, "does not answer", check="database")
    assert told(*away, findings=(down,)) == []
    assert told(*away, findings=(down,), at=NOW + timedelta(minutes=5)) == []
    assert hook.subjects == ["Perpflow red: database"]
    up = Finding(Level.GREEN, "answers", check="database")
    assert told(*back, findings=(up,), at=NOW + timedelta(minutes=10)) == []
    assert told(table, findings=(up,), at=NOW + timedelta(minutes=15)) == []
    assert hook.subjects == ["Perpflow red: database", "Perpflow green again: database"]
    assert len(mail.mails) == 2


def test_where_nothing_can_be_written_down_it_is_told_all_the_same_and_said(mail: Mailbox, hook: Webhook) -> None:
    faults = told(NOWHERE)
    assert (len(mail.mails), len(hook.posted)) == (1, 1)
    assert [fault.partition(":")[0] for fault in faults] == [MAIL.name, HOOK.name]
    assert "will be again: nobody could write it down" in faults[0]


def test_a_recipient_that_can_t_be_told_is_named_and_the_others_are_told_and_it_is_once_it_can(
    empty_database_url: str, mail: Mailbox, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = TableOfAlerts(empty_database_url)
    hook.status = 500
    assert told(table) == ["webhook test_hook: it answers 500 Internal Server Error"]
    assert len(mail.mails) == 1
    hook.status = 204
    working = os.environ["AIRFLOW_CONN_TEST_MAIL"]
    monkeypatch.setenv("AIRFLOW_CONN_TEST_MAIL", working.replace(str(mail.port), "1"))
    assert told(table, findings=(RED, Finding(Level.RED, "full", check="disk"))) == [
        "smtp test_mail me@example.com you@example.com: [Errno 111] Connection refused"
    ]
    assert hook.subjects == ["Perpflow red: exchange", "Perpflow red: exchange, disk"]
    monkeypatch.setenv("AIRFLOW_CONN_TEST_MAIL", working)
    assert told(table, findings=(RED, Finding(Level.RED, "full", check="disk"))) == []
    assert mail.mails[-1]["Subject"] == "Perpflow red: disk"


TELL = """
import sys
from datetime import timedelta
from tests.integration.test_alerts import HOOK, RED, NOW, DAY, TableOfAlerts, send, tell
print(tell((HOOK,), [RED], (TableOfAlerts(sys.argv[1]),), send, NOW, DAY))
"""


def test_who_is_killed_between_sending_and_writing_it_down_sends_it_once_more_and_no_more(
    empty_database_url: str, hook: Webhook
) -> None:
    path = os.pathsep.join([str(ROOT / "plugins"), str(ROOT), *sys.path])
    line = [sys.executable, "-c", TELL, empty_database_url]
    with subprocess.Popen(line, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE) as process:
        # It has sent all, and does not know yet that it was taken.
        hook.before_answer = process.kill
        assert process.wait(120) == -9
    assert len(hook.posted) == 1
    hook.before_answer = lambda: None
    table = TableOfAlerts(empty_database_url)
    for _ in range(3):
        assert tell((HOOK,), [RED], (table,), send, NOW, DAY) == []
    assert len(hook.posted) == 2


def test_slack_without_its_package_is_an_error_that_says_what_to_install() -> None:
    slack = AlertSettings(kind="slack", connection="slack_default")
    for ask in (lambda: require_package(slack), lambda: send(slack, Message("a", (), {}))):
        with pytest.raises(BadConfiguration, match="apache-airflow-providers-slack is not installed"):
            ask()


@pytest.mark.parametrize(
    "said",
    [
        '{"conn_type": "generic", "host": "http://127.0.0.1:%d/a/b?c=d"}',
        "http://127.0.0.1:%d/a%%2Fb",
        '{"conn_type": "http", "host": "127.0.0.1", "port": %d, "schema": "http"}',
    ],
)
def test_a_webhook_s_address_is_read_however_the_connection_was_made(
    hook: Webhook, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_TEST_HOOK", said % hook.port)
    send(HOOK, Message("a", ("b",), {}))
    assert hook.paths[0] in {"/a/b?c=d", "/a/b", "/"}
    assert hook.posted[0]["text"] == "a\nb"
