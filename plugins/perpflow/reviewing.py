"""The review of the quarantine: what waits, one row with its neighbours, and the decision of a person about rows.

A decision is recorded in one transaction, under the name of its review; recording it again changes nothing. What is
released is then loaded from the quarantine through the gate (releasing.py): whoever is killed in between leaves rows
that are released and not published, which the next release of them, or the next run of review_quarantine, publishes.
What is rejected stays where it is, and its instants stay explained in the ledger as quarantined.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, LiteralString

from psycopg import sql

from perpflow import releasing
from perpflow.batches import Plan
from perpflow.datasets import TABLES
from perpflow.errors import BadConfiguration, NothingToReview, ReviewRefused
from perpflow.settings import Deployment
from perpflow.specs import DatasetSpec
from perpflow.store.database import Connection, one, query, session

Decision = Literal["released", "rejected"]

#: As many rows are named in an error; `quarantine list` has them all.
NAMED = 5
LOOK = "See `python -m perpflow quarantine list`."
#: Of what is published at the very instant of a row: a liquidation is not alone there.
MOST_AT_AN_INSTANT = 5


@dataclass(frozen=True, slots=True)
class Selection:
    """Which quarantined rows. A filter that is None or empty lets everything pass.

    `ids` are numbers of quarantine entries: they stand for the whole row, whatever else it fails. `since` is when rows
    were withheld, `up_to` the highest number that whoever decides has seen.
    """

    ids: tuple[int, ...] = ()
    datasets: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    expectation: str | None = None
    since: datetime | None = None
    up_to: int | None = None

    def __post_init__(self) -> None:
        unknown = [name for name in self.datasets if name not in TABLES]
        if unknown:
            raise BadConfiguration(
                f"datasets = {list(self.datasets)}: {', '.join(unknown)} is none.",
                hint=f"Allowed: {', '.join(TABLES)}.",
            )

    @property
    def chooses(self) -> bool:
        """Whether it is about anything in particular."""
        return bool(self.ids or self.datasets or self.symbols or self.expectation or self.since)

    def parameters(self) -> dict[str, Any]:
        """For include/sql/queries/review_matches.sql."""
        names = ("ids", "datasets", "symbols")
        lists = {name: list(getattr(self, name)) or None for name in names}
        return {**lists, "expectation": self.expectation, "since": self.since, "up_to": self.up_to}


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits for a decision: by what it fails, and the first rows; and how many are released and unpublished.

    A row's `published` is the source of what is published for its key, None where nothing is. `superseded`: how many
    entries wait for nobody any more. With `is_superseded` these are the groups and rows, not what waits. `others`: how
    many there are where a filter leaves none.
    """

    groups: list[dict[str, Any]]
    rows: list[dict[str, Any]]
    unsettled: int
    superseded: int = 0
    is_superseded: bool = False
    others: int = 0


@dataclass(frozen=True, slots=True)
class Shown:
    """A quarantined row: an entry for each expectation that it fails, its rivals for the same key, its neighbours.

    Neighbours are published rows: the ones `before` and `after`, and what is `published` at the very instant; where
    that is the row itself, it `is_published`.
    """

    entries: list[dict[str, Any]]
    rivals: list[dict[str, Any]]
    neighbours: list[dict[str, Any]]
    is_published: bool = False


@dataclass(frozen=True, slots=True)
class Decided:
    """What a decision came to: entries that its review marked, rows that were rejected for them, and what to publish.

    `replaces` are published rows that publishing will replace. `left_out` says what was named and could not be decided.
    """

    marked: int = 0
    rivals_rejected: int = 0
    replaces: int = 0
    reviews: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def waiting(deployment: Deployment, chosen: Selection, most: int = 50, *, superseded: bool = False) -> Waiting:
    """What waits for a decision, at most so many rows of it; or what needs none since it was `superseded`.

    Raises:
        StoreUnavailable: the database does not answer.
    """
    parameters = chosen.parameters()
    state = sql.SQL("q.decision = 'superseded'" if superseded else "q.decision IS NULL")
    with session(deployment.database_url) as connection:
        groups = _groups(connection, chosen, state)
        others = [] if groups or not chosen.chooses else _groups(connection, Selection(), state)
        rows = connection.execute(_about("review_rows", state=state), parameters | {"most": most}).fetchall()
        unsettled = int(one(connection, _about("review_unsettled"), parameters)["rows"])
        answered = int(one(connection, _about("review_superseded"), parameters)["entries"])
        there = _sources_there(connection, rows)
    listed = [row | {"published": there.get(row["id"])} for row in rows]
    return Waiting(groups, listed, unsettled, answered, superseded, sum(group["rows"] for group in others))


def _groups(connection: Connection, chosen: Selection, state: sql.SQL) -> list[dict[str, Any]]:
    return connection.execute(_about("review_groups", state=state), chosen.parameters()).fetchall()


def _sources_there(connection: Connection, rows: list[dict[str, Any]]) -> dict[int, str]:
    """From which source a row's key is published, by the row's number."""
    found: list[dict[str, Any]] = []
    for dataset in {row["dataset"] for row in rows}:
        ids = [row["id"] for row in rows if row["dataset"] == dataset]
        statement = _published(TABLES[dataset], "review_given_ids")
        found += connection.execute(statement, {"ids": ids, **_names(TABLES[dataset])}).fetchall()
    return {row["id"]: row["source"] for row in found}


def show(deployment: Deployment, number: int) -> Shown:
    """A quarantined row by the number of one of its entries.

    Raises:
        ReviewRefused: there is no such entry.
        StoreUnavailable: the database does not answer.
    """
    with session(deployment.database_url) as connection:
        entries = connection.execute(_about("review_row"), Selection(ids=(number,)).parameters()).fetchall()
        if not entries:
            raise _unknown([number])
        first = entries[0]
        spec = TABLES[first["dataset"]]
        neighbours = [] if first["time"] is None else _neighbours(connection, spec, first)
        return Shown(
            entries, _rivals(connection, spec, first["id"]), neighbours, _is_published(connection, spec, first)
        )


def _is_published(connection: Connection, spec: DatasetSpec, entry: Mapping[str, Any]) -> bool:
    """Whether the row itself is what is published for its key."""
    statement = _published(spec, "review_given_ids")
    found = connection.execute(statement, {"ids": [entry["id"]], **_names(spec)}).fetchall()
    return any(row["source"] == entry["source"] and not row["is_other"] for row in found)


def _neighbours(connection: Connection, spec: DatasetSpec, entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    statement = query("review_neighbours", target=sql.Identifier(spec.name), in_series=_in_series(spec, "%(series)s"))
    return connection.execute(statement, {**entry, "most": MOST_AT_AN_INSTANT}).fetchall()


def _in_series(spec: DatasetSpec, series: LiteralString) -> sql.Composable:
    return sql.SQL("t.timeframe = " + series) if spec.series_in_key else sql.SQL("true")


def _published(spec: DatasetSpec, ids: str) -> sql.Composed:
    """Of the rows those whose key is published: `source`, and whether a release would replace it, `is_other`."""
    return query(
        "review_published", target=sql.Identifier(spec.name), in_series=_in_series(spec, "q.series"), ids=query(ids)
    )


def _names(spec: DatasetSpec) -> dict[str, list[str]]:
    """Of a row's columns those of its values, and those of its key that the quarantine has none for."""
    return {"values": [column.name for column in spec.values], "key": releasing.key_in_row(spec)}


def _rivals(connection: Connection, spec: DatasetSpec, number: int) -> list[dict[str, Any]]:
    """Other rows of the same source and key, an entry for each expectation that they fail."""
    statement = query("review_rivals", rival=query("review_rival"))
    return connection.execute(statement, {"id": number, "key": releasing.key_in_row(spec)}).fetchall()


def _about(name: str, **parts: sql.Composable) -> sql.Composed:
    return query(name, matches=query("review_matches"), **parts)


# --- decide


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a person says of rows: the decision, why, who it is, and the review that it belongs to.

    With `reject_rivals` a release rejects what the same source gave for the same key with other values, and replaces
    what of it is published. That is rejected, if it was released before, in the transaction that replaces it: the
    release may yet fail something else.
    """

    decision: Decision
    note: str
    by: str
    review: str
    reject_rivals: bool = False

    def __post_init__(self) -> None:
        if not self.note.strip():
            raise BadConfiguration("the note is empty.", hint="Say in a few words why: it stays with the rows.")


def decide(deployment: Deployment, chosen: Selection, said: Judgement, *, known_alone: bool = False) -> Decided:
    """Record a decision about all that is chosen, or about nothing. What it releases is then to be loaded: `plan`.

    With `known_alone` numbers that are unknown or decided already do not keep the others from being decided.

    Raises:
        BadConfiguration: nothing in particular is chosen.
        ReviewRefused: a number is unknown or decided already, nothing matches, or a row can't be released.
        StoreUnavailable: the database does not answer.
    """
    if not chosen.chooses:
        raise BadConfiguration("no rows are chosen.", hint="Name rows by their numbers, or give a filter.")
    with session(deployment.database_url) as connection, connection.transaction():
        connection.execute(query("review_begin"))
        _choose(connection, chosen, said)
        return _decide(connection, chosen, said, known_alone=known_alone)


def _choose(connection: Connection, chosen: Selection, said: Judgement) -> None:
    """Have what the decision is about in a table: it may be a hundred thousand rows, and none travels."""
    connection.execute(query("review_chosen"))
    connection.execute(_about("review_choose"), chosen.parameters() | {"review": said.review})
    connection.execute(query("review_chosen_known"))


def _decide(connection: Connection, chosen: Selection, said: Judgement, *, known_alone: bool) -> Decided:
    counts = one(connection, query("review_counts"), {"review": said.review, "decision": said.decision})
    if not counts["chosen"] and not chosen.ids:
        raise NothingToReview("nothing that waits for a decision matches.", hint=LOOK)
    refusals = (_unknown_of(connection, chosen), _decided_of(connection, said, counts))
    left_out = [refusal for refusal in refusals if refusal]
    if left_out and not (known_alone and (counts["waiting"] or counts["ours"])):
        raise left_out[0]
    releases = said.decision == "released"
    replaces = _demand_releasable(connection, chosen, said, counts["datasets"]) if releases else 0
    # A release that was stopped is gone on with; so is a decision that was recorded, and its attempt killed thereafter.
    if not (counts["waiting"] or counts["ours"] or (releases and counts["stopped"])):
        raise NothingToReview("nothing that waits for a decision matches.", hint=LOOK)
    marked = counts["ours"] + _mark(connection, "review_waiting_ids", said)
    rejected = _mark(connection, "review_rival_ids", replace(said, decision="rejected"))
    reviews = {*counts["stopped_reviews"], *([said.review] if marked else [])}
    named = tuple(map(str, left_out))
    return Decided(marked, rejected, replaces, tuple(sorted(reviews)) if releases else (), named)


def _mark(connection: Connection, ids: str, said: Judgement) -> int:
    parameters = {"decision": said.decision, "note": said.note.strip(), "decided_by": said.by, "review": said.review}
    return connection.execute(query("review_mark", ids=query(ids)), parameters).rowcount


def _unknown_of(connection: Connection, chosen: Selection) -> ReviewRefused | None:
    unknown = connection.execute(query("review_unknown"), {"ids": list(chosen.ids), "most": NAMED}).fetchall()
    return _unknown([row["id"] for row in unknown]) if unknown else None


def _unknown(numbers: list[int]) -> ReviewRefused:
    return ReviewRefused(
        f"{', '.join(map(str, numbers))}: no such rows in the quarantine, or the filters leave them out.",
        hint="Numbers are in the first column of `python -m perpflow quarantine list`.",
    )


def _decided_of(connection: Connection, said: Judgement, counts: Mapping[str, Any]) -> ReviewRefused | None:
    """What was named by its number and is decided, and what would be decided otherwise than before in the same review.

    What filters find beyond that is not refused. What this very review has decided alike is recorded already.
    """
    decided = "c.is_named AND c.decision IS NOT NULL AND NOT (c.is_stopped AND %(decision)s = 'released')"
    if not (counts["waiting"] or counts["ours"]):
        decided = f"({decided}) OR (c.review = %(review)s AND c.decision <> %(decision)s)"
    alike = "c.review IS NOT DISTINCT FROM %(review)s AND c.decision = %(decision)s"
    parameters = {"decision": said.decision, "review": said.review}
    done = _faulty(connection, f"({decided}) AND NOT coalesce({alike}, false)", parameters)
    return ReviewRefused(f"{_some(done, _past)}.", hint="A decision stands.") if done else None


def _past(entry: Mapping[str, Any]) -> str:
    when = f"{entry['reviewed_at']:%Y-%m-%d %H:%M} UTC"
    return f"was {entry['decision']} by {entry['decided_by']} on {when}: {entry['note']}"


def _faulty(
    connection: Connection, which: LiteralString | sql.Composed, parameters: dict[str, Any]
) -> list[dict[str, Any]]:
    """The first chosen entries of which something is true, by columns of `c`, as chosen, `q`, the entry, and `d`."""
    statement = query("review_faulty", faulty=which if isinstance(which, sql.Composed) else sql.SQL(which))
    return connection.execute(statement, {**parameters, "most": NAMED}).fetchall()


def _demand_releasable(connection: Connection, chosen: Selection, said: Judgement, datasets: list[str]) -> int:
    """Refuse a release that could not be published, or not without ambiguity; returns how many rows it replaces."""
    faults: tuple[tuple[LiteralString, Any, str], ...] = (
        ("q.row ? 'frame' AND q.time IS NULL", lambda _: "is a frame that nobody can read", "Reject it."),
        (NO_INSTANT, lambda _: "has no instant", "Reject it."),
        (LACKS, lambda e: f"has no {', '.join(e['lacking'])}", "Reject it."),
    )
    for which, why, hint in faults:
        _refuse(_faulty(connection, f"c.decision IS NULL AND {which}", {}), why, hint)
    if chosen.ids:
        rejected = _faulty(connection, query("review_rejected_for_another"), {})
        _refuse(rejected, lambda e: f"was rejected for {e['expectation']}", "What is rejected is never published.")
    for dataset in datasets:
        parameters = {"dataset": dataset, **_names(TABLES[dataset])}
        connection.execute(query("review_find_rivals", rival=query("review_rival")), parameters)
    _demand_no_rivals(connection, said)
    return sum(_demand_nothing_there(connection, TABLES[dataset], said) for dataset in datasets)


#: Python knows the years 1 to 9999 only.
NO_INSTANT: LiteralString = "(q.time IS NULL OR q.time < '0001-01-02Z' OR q.time >= '9999-12-31Z')"
LACKS: LiteralString = "NOT jsonb_strip_nulls(q.row) ?& d.demanded"


def _demand_no_rivals(connection: Connection, said: Judgement) -> None:
    rivals = connection.execute(query("review_rivals_named"), {"most": NAMED}).fetchall()
    among = [rival for rival in rivals if rival["is_among"]]
    if among or not said.reject_rivals:
        _refuse(
            among or rivals,
            lambda rival: f"has the same key as {rival['of']}",
            "One of them at most can be right: release that one with --reject-rivals, or reject the others first.",
        )


def _demand_nothing_there(connection: Connection, spec: DatasetSpec, said: Judgement) -> int:
    """Refuse to replace what the same source has given and is published, unless told to; returns how much it is."""
    statement = query("review_replaced", published=_published(spec, "review_publishing_ids"))
    parameters = {"dataset": spec.name, "most": NAMED, **_names(spec)}
    replaced = connection.execute(statement, parameters).fetchall()
    if not said.reject_rivals:
        _refuse(
            replaced,
            lambda row: f"would replace what {row['source']} gave and is published",
            "If it is right after all, use --reject-rivals; else reject it.",
        )
    return int(replaced[0]["of_all"]) if replaced else 0


def _refuse(faulty: list[dict[str, Any]], why: Callable[[dict[str, Any]], str], hint: str) -> None:
    if faulty:
        raise ReviewRefused(f"can't be released: {_some(faulty, why)}.", hint=hint)


def _some(first: list[dict[str, Any]], what: Callable[[dict[str, Any]], str]) -> str:
    """The first of `of_all` entries, and how many more there are."""
    rest = first[0]["of_all"] - len(first)
    return "; ".join(f"{entry['id']} {what(entry)}" for entry in first) + (f"; and {rest} more" if rest > 0 else "")


# --- carry out


def plan(deployment: Deployment, run: str, reviews: tuple[str, ...] | None = None) -> Plan:
    """Batches of what reviews have released and nobody has published yet; of all reviews where none is named.

    Raises:
        StoreUnavailable: the database does not answer.
    """
    with session(deployment.database_url) as connection:
        return releasing.plan(connection, run, reviews)
