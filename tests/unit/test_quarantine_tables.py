"""What people are shown of the quarantine: nothing from outside breaks a table, and programs get all of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from perpflow.quarantine_tables import (
    ROW_WIDTH,
    WIDTH,
    group_markdown,
    lines,
    plain,
    row_lines,
    row_markdown,
    row_tables,
    waiting_lines,
    waiting_tables,
)
from perpflow.reviewing import Shown, Waiting

SIX = datetime(2026, 10, 10, 6, tzinfo=UTC)
CANDLE = {"open": 1.5, "high": 1.0, "low": 2.0, "close": 1.5, "volume": 7.0, "source": "archive"}


def entry(**changes: Any) -> dict[str, Any]:
    return {
        "id": 12, "dataset": "ohlcv", "symbol": "SOL/USDT", "series": "5m", "time": SIX,
        "expectation": "high_is_highest", "column": "high", "value": "1", "reason": "The high is the highest price.",
        "source": "archive", "origin": "a.zip", "row": CANDLE, "row_hash": 1, "quarantined_at": SIX,
        "reviewed_at": None, "decision": None, "note": None,
        "decided_by": None, "settled_at": None, "published": None,
    } | changes  # fmt: skip


def neighbour(place: str, minute: int) -> dict[str, Any]:
    return {"place": place, "time": SIX.replace(hour=5 + minute // 60, minute=minute % 60), "row": CANDLE}


RELEASED = {"decision": "released", "decided_by": "ada", "note": "so it was"}
SHOWN = Shown(
    [entry(), entry(id=13, expectation="other", reviewed_at=SIX) | RELEASED],
    [entry(id=14, row_hash=2, row=CANDLE | {"open": 9.0})],
    [neighbour("before", 55), neighbour("published", 60), neighbour("after", 65)],
)  # fmt: skip
GROUP = {
    "dataset": "ohlcv", "expectation": "high_is_highest", "column": "high", "reason": "The high is the highest price.",
    "rows": 14, "symbols": ["BTC/USDT", "SOL/USDT"], "symbol_count": 7, "first": SIX, "last": SIX, "withheld_at": SIX,
    "up_to": 14,
}  # fmt: skip


def printed(what: Any, width: int) -> str:
    console = Console(width=width, file=StringIO())
    console.print(what)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_a_row_stands_between_its_rivals_and_neighbours() -> None:
    assert [(label, time) for label, time, _ in lines(SHOWN)] == [
        ("published before", "2026-10-10 05:55"),
        ("row 12", "2026-10-10 06:00"),
        ("row 14, same key", "2026-10-10 06:00"),
        ("published", "2026-10-10 06:00"),
        ("published after", "2026-10-10 06:05"),
    ]


def test_every_form_says_what_fails_and_what_was_decided() -> None:
    for text in ("\n".join(row_lines(SHOWN)), printed(row_tables(SHOWN), ROW_WIDTH)):
        assert "12 fails high_is_highest (high = 1): The high is the highest price." in text
        assert "released by ada on 2026-10-10 06:00 UTC, not published yet: so it was" in text
    assert "- released by ada on 2026-10-10 06:00 UTC, not published yet: so it was" in group_markdown(
        GROUP, [], [SHOWN]
    )
    assert "released" not in group_markdown(GROUP, [], [Shown([entry()], [], [])])


@pytest.mark.parametrize(
    ("others", "is_published", "outcome"),
    [
        ([entry()], True, "published"),
        ([entry(), entry(id=15, expectation="more")], False, "withheld again for high_is_highest, more"),
        ([entry(decision="rejected", reviewed_at=SIX)], False, "withheld again for high_is_highest"),
        ([], False, "published, and replaced since"),
    ],
)
def test_what_has_become_of_a_release_is_told(others: list[dict[str, Any]], is_published: bool, outcome: str) -> None:
    settled = entry(id=13, expectation="other", reviewed_at=SIX, settled_at=SIX) | RELEASED
    text = "\n".join(row_lines(Shown([*others, settled], [], [], is_published)))
    assert f"released by ada on 2026-10-10 06:00 UTC, {outcome}: so it was" in text


def test_what_is_superseded_is_counted_beside_what_waits_and_listed_by_itself() -> None:
    for found, said in (
        (Waiting([GROUP], [entry()], 0, 7), "7 entries were superseded by what their source gave later"),
        (Waiting([], [], 0, 7), "--superseded shows them"),
        (Waiting([], [], 0, is_superseded=True), "othing was superseded"),
        (Waiting([], [], 0, others=3), "othing of that waits for a decision; 3 other entries do"),
        (Waiting([], [], 0, is_superseded=True, others=3), "othing of that was superseded; 3 other entries were"),
    ):
        assert said in "\n".join(waiting_lines(found, 50))
        assert said in printed(waiting_tables(found, 50), WIDTH)
    listed = printed(waiting_tables(Waiting([GROUP], [entry()], 0, 14, is_superseded=True), 50), WIDTH)
    assert "Superseded by what their source gave later (times are UTC)" in listed
    assert "--superseded" not in listed


def test_what_waits_names_groups_rows_and_what_was_stopped() -> None:
    found = Waiting([GROUP], [entry()], 3)
    for text in ("\n".join(waiting_lines(found, 1)), printed(waiting_tables(found, 1), WIDTH)):
        assert "high_is_highest" in text
        assert "BTC/USDT" in text
        assert "3 entries are released and not published yet" in text
        assert "--most shows more" in text


def test_what_is_published_for_the_key_of_a_row_that_waits_is_told() -> None:
    row = entry(source="rest", published="archive")
    lined = "\n".join(waiting_lines(Waiting([GROUP], [row], 0), 50))
    assert "source=rest published=archive" in lined
    assert "published" not in "\n".join(waiting_lines(Waiting([GROUP], [entry()], 0), 50))
    assert "archive" in printed(waiting_tables(Waiting([GROUP], [row], 0), 50), WIDTH)
    assert "| rest | archive |" in group_markdown(GROUP, [row], [])


def test_nothing_waits() -> None:
    assert list(waiting_lines(Waiting([], [], 0), 50)) == ["nothing waits for a decision"]
    assert "Nothing waits for a decision." in printed(waiting_tables(Waiting([], [], 0), 50), WIDTH)


def test_a_group_shows_some_rows_and_says_how_many_more_there_are() -> None:
    text = group_markdown(GROUP, [entry(id=number) for number in range(10)], [SHOWN])
    assert "**14 rows** of ohlcv, BTC/USDT, SOL/USDT +5" in text
    assert "And 4 more" in text
    assert [line for line in text.splitlines() if line.startswith("| 9 | SOL/USDT")]


def test_what_is_shown_among_its_neighbours_is_not_listed_once_more() -> None:
    text = group_markdown(GROUP | {"rows": 3}, [entry(), entry(id=14), entry(id=20)], [SHOWN])
    assert [line[:6] for line in text.splitlines() if line.startswith(("| 12", "| 14", "| 20"))] == ["| 20 |"]


def test_brackets_from_outside_are_no_marks_of_a_table() -> None:
    odd = entry(symbol="[/red]X[b]", row=CANDLE | {"open": "[/]"}, origin="[/x]", value="[blink]")
    assert "[/red]X[b]" in printed(row_tables(Shown([odd], [], [])), ROW_WIDTH)
    text = printed(waiting_tables(Waiting([GROUP | {"reason": "[/why]"}], [odd], 0), 50), WIDTH)
    assert "[/why]" in text
    assert "[blink]" in text


@given(st.text())
def test_a_frame_from_outside_stays_in_its_cell(frame: str) -> None:
    unreadable = entry(dataset="liquidations", series="forceOrder", time=None, row={"frame": frame})
    table = row_markdown(Shown([unreadable], [], []))
    assert len(table.split("\n")) == 3
    last = table.split("\n")[-1].replace("\\\\", "").replace("\\|", "")
    assert last.count("|") == 4
    assert "<" not in last


@given(
    st.recursive(
        st.none() | st.booleans() | st.text() | st.datetimes(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_whatever_is_shown_can_be_json(value: Any) -> None:
    assert json.loads(json.dumps(plain(value))) == plain(value)
