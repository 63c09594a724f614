"""The ledger against a model that keeps sets of five-minute points."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perpflow.datasets import OPEN_INTEREST
from perpflow.specs import DatasetSpec
from perpflow.store import ledger
from perpflow.store.database import Connection, session, to_multirange
from perpflow.store.ledger import RECHECK_AFTER, Answered, Coverage
from perpflow.windows import Window, merge, subtract
from tests.loading import utc

START = utc("2026-10-10")
FIVE = timedelta(minutes=5)
SLOTS = 16
LIFE = Window(START, START + SLOTS * FIVE)
KEY = ("SOL/USDT", "5m")
STAGE_IDS = count(1)
ASKED_AT = utc("2026-10-13")
RECHECK_AT = ASKED_AT + RECHECK_AFTER

slots = st.frozensets(st.integers(0, SLOTS - 1))


@dataclass(frozen=True)
class Attempt:
    """What one publish knows: points staged and passed, points withheld, points that every source was asked for."""

    passed: frozenset[int]
    withheld: frozenset[int]
    asked: frozenset[int]


@dataclass
class Model:
    """What the ledger must say: points present beat points withheld, and both beat points that are missing."""

    present: set[int] = field(default_factory=set)
    quarantined: set[int] = field(default_factory=set)
    missing: set[int] = field(default_factory=set)

    def publish(self, attempt: Attempt) -> None:
        self.present |= attempt.passed
        held = self.quarantined | attempt.withheld
        self.quarantined = held - self.present
        self.missing = (self.missing | attempt.asked) - self.present - held

    @property
    def gaps(self) -> set[int]:
        return set(range(SLOTS)) - self.present - self.quarantined - self.missing


attempts = st.lists(st.builds(Attempt, slots, slots, slots), min_size=1, max_size=5)


def windows(points: set[int] | frozenset[int]) -> list[Window]:
    return merge(Window(START + n * FIVE, START + (n + 1) * FIVE) for n in points)


@pytest.fixture(scope="module")
def connection(database_url: str) -> Iterator[Connection]:
    with session(database_url) as opened:
        yield opened


def forget(connection: Connection) -> None:
    connection.execute("TRUNCATE coverage, staging.open_interest")
    ledger.ensure(connection, OPEN_INTEREST, (KEY[0],), (KEY[1],))
    ledger.set_life(connection, OPEN_INTEREST, KEY, LIFE.start, "a test")


def publish(
    connection: Connection, attempt: Attempt, spec: DatasetSpec = OPEN_INTEREST, now: datetime = ASKED_AT
) -> None:
    """Stage the points and describe them."""
    stage_id = next(STAGE_IDS)
    marks = [(n, None) for n in attempt.passed] + [(n, ["some_rule"]) for n in attempt.withheld]
    with connection.cursor() as cursor:
        cursor.executemany(
            """INSERT INTO staging.open_interest (stage_id, origin, source, symbol, series, create_time,
                   reported_open_interest, reported_open_interest_value, withheld)
               VALUES (%s, 0, 'archive', %s, '5m', %s, 1, 1, %s)""",
            [(stage_id, KEY[0], (START + n * FIVE).replace(tzinfo=None), mark) for n, mark in marks],
        )
    answered = {KEY: Answered(by_any=[], by_all=windows(attempt.asked))}
    ledger.describe(connection, spec, stage_id, window=LIFE, answered=answered, now=now)


def row(connection: Connection) -> Coverage:
    (found,) = ledger.read(connection, (OPEN_INTEREST.name,))
    return found


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(attempts)
def test_any_sequence_of_publishes_says_what_the_model_says(connection: Connection, published: list[Attempt]) -> None:
    forget(connection)
    model = Model()
    for attempt in published:
        publish(connection, attempt)
        model.publish(attempt)
        found = row(connection)
        assert found.present == windows(model.present)
        assert found.quarantined == windows(model.quarantined)
        assert found.missing_upstream == windows(model.missing)
        assert (found.recheck_at is None) == (not model.missing)
        spans = {KEY: LIFE}
        before, after = RECHECK_AT - FIVE, RECHECK_AT
        assert ledger.gaps(connection, OPEN_INTEREST, spans, now=before) == {KEY: windows(model.gaps)}
        assert ledger.gaps(connection, OPEN_INTEREST, spans, now=after) == {KEY: windows(model.gaps | model.missing)}
        assert ledger.gaps(connection, OPEN_INTEREST, spans, now=before, again=True) == {KEY: [LIFE]}


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.builds(Attempt, slots, slots, slots), attempts)
def test_describing_the_same_again_changes_nothing(
    connection: Connection, last: Attempt, published: list[Attempt]
) -> None:
    forget(connection)
    for attempt in (*published, last):
        publish(connection, attempt)
    once = row(connection)
    publish(connection, last)
    assert row(connection) == once


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(attempts)
def test_the_bounds_are_the_first_and_the_newest_explained_point_s_edges(
    connection: Connection, published: list[Attempt]
) -> None:
    forget(connection)
    for attempt in published:
        publish(connection, attempt)
    explained = [n for a in published for n in a.passed | a.withheld | a.asked]
    (found,) = ledger.bounds(connection, (OPEN_INTEREST.name,))
    extent = Window(START + min(explained) * FIVE, START + (max(explained) + 1) * FIVE) if explained else None
    assert found.extent == row(connection).extent == extent


NOTHING: frozenset[int] = frozenset()


def lacking(*points: int) -> Attempt:
    """Every source was asked for these points and has none of them."""
    return Attempt(NOTHING, NOTHING, frozenset(points))


def gaps(connection: Connection, now: datetime) -> list[Window]:
    return ledger.gaps(connection, OPEN_INTEREST, {KEY: LIFE}, now=now)[KEY]


def test_missing_points_that_are_due_are_asked_for_once_and_then_wait_twice_as_long(connection: Connection) -> None:
    forget(connection)
    publish(connection, Attempt(frozenset(range(SLOTS)) - {1, 2, 9}, NOTHING, NOTHING))
    publish(connection, lacking(1, 2, 9))
    assert (gaps(connection, RECHECK_AT - FIVE), gaps(connection, RECHECK_AT)) == ([], windows({1, 2, 9}))

    # They lie in two batches: the first leaves the other's points due, and its own are not asked for again.
    publish(connection, lacking(1, 2), now=RECHECK_AT)
    assert gaps(connection, RECHECK_AT + FIVE) == windows({9})
    publish(connection, lacking(9), now=RECHECK_AT + FIVE)
    assert row(connection).recheck_at == RECHECK_AT + FIVE + 2 * RECHECK_AFTER
    assert row(connection).missing_upstream == windows({1, 2, 9})
    assert gaps(connection, RECHECK_AT + 2 * FIVE) == []
    assert gaps(connection, RECHECK_AT + FIVE + 2 * RECHECK_AFTER) == windows({1, 2, 9})


def test_what_is_found_missing_later_does_not_wait_as_long_as_what_has_been_for_months(connection: Connection) -> None:
    forget(connection)
    publish(connection, Attempt(frozenset(range(SLOTS)) - {1, 5}, NOTHING, frozenset({1})))
    due = RECHECK_AT
    for pause in (2, 4, 8, 16):
        publish(connection, lacking(1), now=due)
        due += pause * RECHECK_AFTER
    assert row(connection).recheck_at == due
    later = due - 10 * RECHECK_AFTER
    publish(connection, lacking(5), now=later)
    assert row(connection).recheck_at == later + RECHECK_AFTER
    assert (gaps(connection, later), gaps(connection, later + RECHECK_AFTER)) == ([], windows({5}))
    publish(connection, Attempt(frozenset({7}), NOTHING, NOTHING), now=later + FIVE)
    publish(connection, lacking(5), now=later + RECHECK_AFTER)
    # Then it waits like the others.
    assert (row(connection).missing_upstream, row(connection).recheck_at) == (windows({1, 5}), due)
    assert gaps(connection, due - FIVE) == []
    publish(connection, lacking(1, 5), now=due)
    assert row(connection).recheck_at == due + 16 * RECHECK_AFTER


def test_what_is_found_missing_while_the_rest_is_due_is_asked_for_once_more(connection: Connection) -> None:
    forget(connection)
    publish(connection, Attempt(frozenset(range(SLOTS)) - {1, 5}, NOTHING, frozenset({1})))
    publish(connection, lacking(5), now=RECHECK_AT)
    publish(connection, lacking(1), now=RECHECK_AT + FIVE)
    assert gaps(connection, RECHECK_AT + FIVE) == windows({5})
    publish(connection, lacking(5), now=RECHECK_AT + 2 * FIVE)
    assert row(connection).recheck_at == RECHECK_AT + 2 * FIVE + 2 * RECHECK_AFTER


def test_batches_that_end_in_another_order_leave_the_old_date_alone(connection: Connection) -> None:
    forget(connection)
    publish(connection, lacking(1))
    publish(connection, lacking(1), now=RECHECK_AT)
    due = row(connection).recheck_at
    publish(connection, lacking(5), now=RECHECK_AT + 2 * FIVE)
    publish(connection, lacking(7), now=RECHECK_AT + FIVE)
    first = row(connection).recheck_at
    assert first == RECHECK_AT + 2 * FIVE + RECHECK_AFTER
    publish(connection, lacking(5, 7), now=first)
    assert row(connection).recheck_at == due


def test_what_came_before_its_recheck_leaves_the_others_their_date(connection: Connection) -> None:
    forget(connection)
    publish(connection, lacking(1))
    publish(connection, lacking(1), now=RECHECK_AT)
    due = row(connection).recheck_at
    publish(connection, lacking(5), now=RECHECK_AT + FIVE)
    assert row(connection).recheck_at == RECHECK_AT + FIVE + RECHECK_AFTER
    publish(connection, Attempt(frozenset({5}), NOTHING, NOTHING), now=RECHECK_AT + 2 * FIVE)
    assert (row(connection).missing_upstream, row(connection).recheck_at) == (windows({1}), due)


def test_nothing_is_missing_beyond_the_end_of_a_life(connection: Connection) -> None:
    forget(connection)
    publish(connection, lacking(1, 9))
    ends = START + 5 * FIVE
    ledger.set_end(connection, OPEN_INTEREST, KEY, ends)
    assert (row(connection).missing_upstream, row(connection).recheck_at) == (windows({1}), RECHECK_AT)
    ledger.set_end(connection, OPEN_INTEREST, KEY, START)
    assert (row(connection).missing_upstream, row(connection).recheck_at) == ([], None)


def test_a_point_that_came_after_all_no_longer_holds_up_the_next_recheck(connection: Connection) -> None:
    forget(connection)
    publish(connection, lacking(1, 2))
    publish(connection, lacking(2), now=RECHECK_AT)
    publish(connection, Attempt(frozenset({1}), NOTHING, NOTHING), now=RECHECK_AT)
    assert (row(connection).missing_upstream, row(connection).present) == (windows({2}), windows({1}))
    assert row(connection).recheck_at == RECHECK_AT + 2 * RECHECK_AFTER


def test_points_that_nobody_asks_for_do_not_hold_up_the_others_for_ever(connection: Connection) -> None:
    forget(connection)
    publish(connection, Attempt(frozenset(range(SLOTS)) - {1, 9}, NOTHING, NOTHING))
    publish(connection, lacking(1, 9))
    publish(connection, lacking(9), now=RECHECK_AT)
    late = RECHECK_AT + RECHECK_AFTER
    assert gaps(connection, late - FIVE) == windows({1})
    assert gaps(connection, late) == windows({1, 9})
    publish(connection, lacking(9), now=late)
    assert (row(connection).recheck_at, gaps(connection, late)) == (late, windows({1}))


def test_a_sliver_between_two_points_is_no_gap(connection: Connection) -> None:
    forget(connection)
    half = timedelta(minutes=2)
    off_grid = [Window(LIFE.start, LIFE.start + half), Window(LIFE.start + FIVE, LIFE.end)]
    connection.execute("UPDATE coverage SET present = %s", [to_multirange(off_grid)])
    assert gaps(connection, ASKED_AT) == []


def test_other_publishes_neither_postpone_a_recheck_nor_spend_it(connection: Connection) -> None:
    forget(connection)
    publish(connection, lacking(1))
    publish(connection, lacking(5), now=ASKED_AT + timedelta(days=3))
    assert row(connection).recheck_at == RECHECK_AT
    publish(connection, Attempt(frozenset({7}), NOTHING, NOTHING), now=RECHECK_AT)
    assert row(connection).recheck_at == RECHECK_AT
    assert subtract(windows({1, 5}), gaps(connection, RECHECK_AT)) == []


def test_a_life_once_found_may_begin_earlier_and_not_later(connection: Connection) -> None:
    forget(connection)
    ledger.set_life(connection, OPEN_INTEREST, KEY, START + FIVE, "another opinion")
    assert (row(connection).available_from, row(connection).evidence) == (START, "a test")
    ledger.set_life(connection, OPEN_INTEREST, KEY, START - FIVE, "an earlier file")
    assert (row(connection).available_from, row(connection).evidence) == (START - FIVE, "an earlier file")


def test_a_series_without_a_life_has_no_gaps(connection: Connection) -> None:
    connection.execute("TRUNCATE coverage")
    ledger.ensure(connection, OPEN_INTEREST, (KEY[0],), (KEY[1],))
    assert ledger.gaps(connection, OPEN_INTEREST, {KEY: LIFE}, now=LIFE.end) == {}


def test_gaps_before_the_life_are_none(connection: Connection) -> None:
    forget(connection)
    early = {KEY: Window(LIFE.start - timedelta(days=1), LIFE.start + FIVE)}
    assert ledger.gaps(connection, OPEN_INTEREST, early, now=LIFE.end) == {KEY: [Window(LIFE.start, LIFE.start + FIVE)]}
