"""Telling of findings for real: mail over SMTP, webhooks over HTTP, what was told in PostgreSQL; and being killed."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from asgiref.sync import sync_to_async

from perpflow.errors import BadConfiguration
from perpflow.health.finding import Finding, Level
from perpflow.health.news import LOOKS_TO_END, Message
from perpflow.health.telling import Place, TableOfAlerts, tell
from perpflow.monitoring import AlertSettings
from perpflow.orchestration.alerting import LateRun, tell_of_missed_deadline
from perpflow.orchestration.notifiers import prepare, require_package, slack_text
from perpflow.settings import Collection
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
    return tell((MAIL, HOOK), list(findings), places, prepare, at, DAY)


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
    ends = [((GREEN,), NOW + (2 + look) * DAY) for look in range(LOOKS_TO_END + 1)]
    for findings, at in (((RED,), NOW), ((RED,), NOW + DAY), *ends):
        assert told(table, findings=findings, at=at) == []
    assert hook.subjects == ["Perpflow red: exchange"] * 2 + ["Perpflow green again: exchange"]
    assert "still red since 2026-10-15 12:34 UTC" in hook.posted[1]["text"]
    assert len(mail.mails) == 3
    with session(empty_database_url) as connection:
        rows = connection.execute("SELECT recipient, finding, level, told_at FROM alerts ORDER BY recipient").fetchall()
    assert [tuple(row.values()) for row in rows] == [
        ("smtp test_mail me@example.com you@example.com", "exchange", "green", NOW + 4 * DAY),
        ("webhook test_hook", "exchange", "green", NOW + 4 * DAY),
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
    for look in range(LOOKS_TO_END):
        assert told(*back, findings=(up,), at=NOW + timedelta(minutes=10 + look)) == []
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
from tests.integration.test_alerts import HOOK, RED, NOW, DAY, TableOfAlerts, prepare, tell
print(tell((HOOK,), [RED], (TableOfAlerts(sys.argv[1]),), prepare, NOW, DAY))
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
        assert tell((HOOK,), [RED], (table,), prepare, NOW, DAY) == []
    assert len(hook.posted) == 2


def test_slack_without_its_package_is_an_error_that_says_what_to_install() -> None:
    slack = AlertSettings(kind="slack", connection="slack_default")
    for ask in (lambda: require_package(slack), lambda: prepare(slack, Message("a", (), {}))):
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
    prepare(HOOK, Message("a", ("b",), {}))()
    assert hook.paths[0] in {"/a/b?c=d", "/a/b", "/"}
    assert hook.posted[0]["text"] == "a\nb"


@contextmanager
def silent_server() -> Iterator[int]:
    """The port of a server that takes connections and never says a word; all that wait end with it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_mail_server_that_says_nothing_keeps_nobody_else_from_being_told_and_is_named(
    empty_database_url: str, mail: Mailbox, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = os.environ["AIRFLOW_CONN_TEST_MAIL"]
    table, began = TableOfAlerts(empty_database_url), time.monotonic()
    with silent_server() as port:
        monkeypatch.setenv("AIRFLOW_CONN_TEST_MAIL", connection.replace(str(mail.port), str(port)))
        faults = tell((MAIL, HOOK), [RED], (table,), prepare, NOW, DAY, patience_s=1)
    assert faults == [f"{MAIL.name}: it has not taken the message in time"]
    assert time.monotonic() - began < 10
    assert hook.subjects == ["Perpflow red: exchange"]
    monkeypatch.setenv("AIRFLOW_CONN_TEST_MAIL", connection)
    assert tell((MAIL, HOOK), [RED], (table,), prepare, NOW + timedelta(minutes=5), DAY) == []
    assert (len(mail.mails), len(hook.posted)) == (1, 1)


def test_a_mail_server_that_says_nothing_is_tried_once(mail: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    told = json.loads(mail.connection())
    with silent_server() as port:
        said = told | {"port": port, "extra": told["extra"] | {"timeout": 1, "retry_limit": 5}}
        monkeypatch.setenv("AIRFLOW_CONN_TEST_MAIL", json.dumps(said))
        began = time.monotonic()
        with pytest.raises(Exception, match="Unable to connect to smtp server"):
            prepare(MAIL, Message("a", ("b",), {}))()
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("end", ["\n", " ", "\r\n"])
def test_white_space_around_a_webhook_s_secrets_is_no_part_of_them(
    hook: Webhook, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    said = hook.connection(password=f"t0ken{end}", extra={"headers": {"X-Api-Key": f"k3y{end}"}})
    monkeypatch.setenv("AIRFLOW_CONN_TEST_HOOK", said.replace("key=secret", f"key=secret{json.dumps(end)[1:-1]}"))
    prepare(HOOK, Message("a", ("b",), {}))()
    assert (hook.headers[0]["Authorization"], hook.headers[0]["X-Api-Key"]) == ("Bearer t0ken", "k3y")
    assert hook.paths == ["/hook?key=secret"]


@pytest.mark.parametrize(
    "said",
    [
        {"host": "http://127.0.0.1:1/s3cret"},
        {"host": "http://127.0.0.1:port/s3cret"},
        {"host": "http://127.0.0.1:1/", "password": "s3\ncret"},
        {"host": "http://127.0.0.1:1/", "password": "s3cret-\u20ac"},
    ],
)
def test_what_goes_wrong_with_a_webhook_quotes_none_of_its_secrets(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, said: dict[str, str]
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_TEST_HOOK", json.dumps({"conn_type": "generic", **said}))
    (fault,) = tell((HOOK,), [RED], (), prepare, NOW, DAY)
    assert fault.startswith("webhook test_hook: it can't be reached: ")
    for text in (fault, caplog.text):
        assert "cret" not in text


def test_slack_gets_no_links_or_mentions_that_others_have_written() -> None:
    said = slack_text(Message("Perpflow red: a", ("<!channel> & <https://evil.example|see> it's",), {}))
    assert said == "*Perpflow red: a*\n&lt;!channel&gt; &amp; &lt;https://evil.example|see&gt; it's"


RUN = {
    "dag_id": "ingest_ohlcv",
    "dag_run_id": "manual__1",
    "queued_at": "2026-10-15T12:34:56.789012Z",
    "end_date": None,
}


async def test_a_run_that_has_ended_is_not_late_and_nobody_waits_for_the_shared_thread_to_learn_so(
    hook: Webhook, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    collection = tmp_path / "collection.yaml"
    collection.write_text("alerts: [{kind: webhook, connection: test_hook}]")
    monkeypatch.setenv("PERPFLOW_COLLECTION", str(collection))
    busy = threading.Event()
    # Some other trigger's blocking call, in the one thread for what may run nowhere else.
    other = asyncio.create_task(sync_to_async(busy.wait)())
    try:
        ended = RUN | {"end_date": "2026-10-15T12:40:00Z"}
        await asyncio.wait_for(tell_of_missed_deadline({"dag_run": ended}), 10)
        assert hook.posted == []
    finally:
        busy.set()
        await other


def test_a_late_run_is_a_finding_in_minutes_and_utc() -> None:
    found = LateRun.of(RUN).finding(Collection())
    assert (found.title, found.level) == ("late ingest_ohlcv", Level.RED)
    assert found.cause == "its run manual__1 was queued at 2026-10-15 12:34 UTC and is not done 45 minutes later"
