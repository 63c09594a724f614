"""review_quarantine in a real Airflow: it asks about what waits, and carries out what a person answers there."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from perpflow.embedded.airflow_client import TaskState
from perpflow.embedded.airflow_runs import FINAL
from tests.running_airflow import Airflow, awaited

DAG = "review_quarantine"
ASK, RECORD = "group.ask", "group.record"
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def withheld(airflow: Airflow) -> None:
    """A day of which six candles are in the quarantine: three of them break one rule, and three another."""
    for what, symbol in (("high_below_low", "BTCUSDT"), ("negative_volume", "ETHUSDT")):
        airflow.exchange.add_fault(
            "corrupt_rows", dataset="klines", symbol=symbol, interval="5m", date="2026-10-08", what=what, count=3
        )
    form = {"symbols": ["BTC/USDT", "ETH/USDT"], "datasets": ["ohlcv"], "start": "2026-10-08", "end": "2026-10-09"}
    airflow.run("load_history", {**form, "again": True})
    airflow.client.pause(DAG, paused=False)


def waits(airflow: Airflow, run: str, task: TaskState) -> bool:
    """Whether a question waits, and the scheduler has noted that the process that asked it has ended.

    An answer that comes before, which a person never manages, makes it take the task for one that was killed: it asks
    again 20 seconds later, then 40, and so on.
    """
    if task.state != "awaiting_input":
        return False
    subject = f"TaskInstance Finished: dag_id={DAG}, task_id={ASK}, run_id={run}, map_index={task.map_index}, "
    lines = airflow.stack.log("scheduler").read_text(errors="replace").splitlines()
    return any(subject in line and f" try_number={task.tries}," in line for line in lines)


def asked(airflow: Airflow, run: str) -> list[dict[str, Any]]:
    """The questions of a run that wait for an answer, with what they show."""
    tasks = [task for task in airflow.tasks(DAG, run) if task.task == ASK and waits(airflow, run, task)]
    base = f"dags/{DAG}/dagRuns/{run}/taskInstances/{ASK}"
    return [
        airflow.client._call("GET", f"{base}/{task.map_index}/hitlDetails") | {"map_index": task.map_index}
        for task in tasks
    ]


def all_asked(airflow: Airflow, run: str) -> list[dict[str, Any]]:
    """The same, once all wait."""

    def settled() -> bool:
        tasks = [task for task in airflow.tasks(DAG, run) if task.task == ASK]
        return bool(tasks) and all(task.state in ("skipped", "failed") or waits(airflow, run, task) for task in tasks)

    awaited(settled, bool)
    return asked(airflow, run)


def answer(airflow: Airflow, run: str, question: dict[str, Any], option: str, **form: Any) -> None:
    """Answer as the UI does."""
    path = f"dags/{DAG}/dagRuns/{run}/taskInstances/{ASK}/{question['map_index']}/hitlDetails"
    given = {"note": "", "rows": [], "reject_rivals": False} | form
    airflow.client._call("PATCH", path, json={"chosen_options": [option], "params_input": given})


def answered(
    airflow: Airflow, run: str, reply: Callable[[dict[str, Any]], tuple[str, str]], rows: list[str] | None = None
) -> str:
    """Answer whatever waits until the run has ended, about these rows or the group; its state."""

    def state() -> str | None:
        for question in asked(airflow, run):
            if question["response_received"] is False:
                option, note = reply(question)
                answer(airflow, run, question, option, note=note, rows=rows)
        return airflow.client.run_states(DAG).get(run)

    return str(awaited(state, lambda found: found in FINAL))


def decisions(airflow: Airflow, symbol: str) -> list[tuple[Any, ...]]:
    return airflow.rows(
        "SELECT DISTINCT decision, note, decided_by, settled_at IS NOT NULL FROM quarantine "  # noqa: S608
        f"WHERE symbol = '{symbol}' ORDER BY 1"
    )


def published(airflow: Airflow, symbol: str) -> int:
    ((count,),) = airflow.rows(
        "SELECT count(*) FROM ohlcv WHERE timeframe = '5m' AND time >= '2026-10-08Z' AND time < '2026-10-09Z' "  # noqa: S608
        f"AND symbol = '{symbol}'"
    )
    return int(count)


def of_symbol(questions: list[dict[str, Any]], symbol: str) -> list[dict[str, Any]]:
    return [question for question in questions if f" of {symbol} " in question["subject"]]


def test_a_person_releases_one_group_rejects_another_and_leaves_the_rest(airflow: Airflow, withheld: None) -> None:
    assert (published(airflow, "BTC/USDT"), published(airflow, "ETH/USDT")) == (285, 285)
    run = airflow.client.trigger(DAG, {"symbols": ["BTC/USDT", "ETH/USDT"]})
    questions = all_asked(airflow, run)
    bitcoin, ether = of_symbol(questions, "BTC/USDT"), of_symbol(questions, "ETH/USDT")
    assert bitcoin
    assert ether
    for question in bitcoin:
        assert re.search(r"\| \*\*row \d+\*\* \| \*\*2026-10-08 06:00\*\* \|", question["body"])
        assert "| published before | 2026-10-08 05:55 |" in question["body"]

    def reply(question: dict[str, Any]) -> tuple[str, str]:
        is_bitcoin = bool(of_symbol([question], "BTC/USDT"))
        return ("release", "the exchange says so itself") if is_bitcoin else ("reject", "no such volume")

    assert answered(airflow, run, reply) == "success"
    assert decisions(airflow, "BTC/USDT") == [("released", "the exchange says so itself", "admin", True)]
    assert decisions(airflow, "ETH/USDT") == [("rejected", "no such volume", "admin", True)]
    assert (published(airflow, "BTC/USDT"), published(airflow, "ETH/USDT")) == (288, 285)
    counts = airflow.client.returned(DAG, run, "report")
    assert (counts["inserted"], counts["quarantined"]) == (3, 0)


def test_where_nothing_waits_the_run_is_green_and_asks_nobody(airflow: Airflow, withheld: None) -> None:
    run, state = airflow.run(DAG, {"symbols": ["FTM/USDT"]})
    assert state == "success"
    assert asked(airflow, run) == []


def test_an_answer_without_a_note_is_red_and_decides_nothing(airflow: Airflow, withheld: None) -> None:
    airflow.exchange.add_fault(
        "corrupt_rows", dataset="metrics", symbol="BTCUSDT", date="2026-10-08", what="negative_value", count=1
    )
    form = {"symbols": ["BTC/USDT"], "datasets": ["open_interest"], "start": "2026-10-08", "end": "2026-10-09"}
    airflow.run("load_history", {**form, "again": True})
    run = airflow.client.trigger(DAG, {"datasets": ["open_interest"], "symbols": ["BTC/USDT"]})
    assert answered(airflow, run, lambda _: ("release", "")) == "failed"
    failed = {task.task: task for task in airflow.tasks(DAG, run) if task.state == "failed"}
    assert failed.keys() == {RECORD, "report"}
    said = "\n".join(airflow.client.log_tail(DAG, run, failed["report"], 100))
    assert "rejected the answer about open_interest " in said
    assert "the note is empty" in "\n".join(airflow.client.log_tail(DAG, run, failed[RECORD], 100))
    assert airflow.rows("SELECT DISTINCT decision FROM quarantine WHERE dataset = 'open_interest'") == [(None,)]


def test_a_number_that_is_unknown_is_named_and_the_others_are_decided(airflow: Airflow, withheld: None) -> None:
    airflow.exchange.add_fault(
        "corrupt_rows", dataset="metrics", symbol="ETHUSDT", date="2026-10-08", what="negative_value", count=2
    )
    form = {"symbols": ["ETH/USDT"], "datasets": ["open_interest"], "start": "2026-10-08", "end": "2026-10-09"}
    airflow.run("load_history", {**form, "again": True})
    known = "SELECT DISTINCT ON (time) id FROM quarantine WHERE dataset = 'open_interest' AND symbol = 'ETH/USDT'"
    ((named,), _) = airflow.rows(f"{known} ORDER BY time, id")
    run = airflow.client.trigger(DAG, {"datasets": ["open_interest"], "symbols": ["ETH/USDT"]})
    rows = [str(named), "999999"]
    assert answered(airflow, run, lambda _: ("reject", "no such value"), rows) == "failed"
    failed = {task.task: task for task in airflow.tasks(DAG, run) if task.state == "failed"}
    assert failed.keys() == {RECORD, "report"}
    said = "\n".join(airflow.client.log_tail(DAG, run, failed[RECORD], 100))
    assert "999999: no such rows in the quarantine" in said
    decided = airflow.rows(
        "SELECT id, time, decision FROM quarantine WHERE dataset = 'open_interest' AND symbol = 'ETH/USDT'"
    )
    (at,) = {time for number, time, _ in decided if number == named}
    assert {(time == at, decision) for _, time, decision in decided} == {(True, "rejected"), (False, None)}
