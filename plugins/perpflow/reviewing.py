"""The review of the quarantine: what waits, one row with its neighbours, and the decision of a person about rows.

A decision is recorded in one transaction, under the name of its review; recording it again changes nothing. What is
released is then loaded from the quarantine through the gate (releasing.py): whoever is killed in between leaves rows
that are released and not published, which the next release of them, or the next run of review_quarantine, publishes.
What is rejected stays where it is, and its instants stay explained in the ledger as quarantined.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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

    A row's `published` is the source of what is published for its key, None where nothing is.
    """

    groups: list[dict[str, Any]]
    rows: list[dict[str, Any]]
    unsettled: int


@dataclass(frozen=True, slots=True)
class Shown:
    """A quarantined row: an entry for each expectation that it fails, its rivals for the same key, its neighbours.

    Neighbours are published rows: the ones `before` and `after`, and what is `published` at the very instant.
    """

    entries: list[dict[str, Any]]
    rivals: list[dict[str, Any]]
    neighbours: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Decided:
    """What a decision came to: entries that were marked now, rows that were rejected for them, and what to publish.

    `replaces` are published rows that publishing will replace.
    """

    marked: int = 0
    rivals_rejected: int = 0
    replaces: int = 0
    reviews: tuple[str, ...] = ()


def waiting(deployment: Deployment, chosen: Selection, most: int = 50) -> Waiting:
    """What waits for a decision, at most so many rows of it.

    Raises:
        StoreUnavailable: the database does not answer.
    """
    parameters = chosen.parameters()
    with session(deployment.database_url) as connection:
        groups = connection.execute(_about("review_groups"), parameters).fetchall()
        rows = connection.execute(_about("review_rows"), parameters | {"most": most}).fetchall()
        unsettled = int(one(connection, _about("review_unsettled"), parameters)["rows"])
        there = _sources_there(connection, rows)
    return Waiting(groups, [row | {"published": there.get(row["id"])} for row in rows], unsettled)


def _sources_there(connection: Connection, rows: list[dict[str, Any]]) -> dict[int, str]:
    """From which source a row's key is published, by the row's number."""
    found: list[dict[str, Any]] = []
    for dataset in {row["dataset"] for row in rows}:
        ids = [row["id"] for row in rows if row["dataset"] == dataset]
        found += _published(connection, TABLES[dataset], ids)
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
        return Shown(entries, _rivals(connection, spec, [first["id"]]), neighbours)


def _neighbours(connection: Connection, spec: DatasetSpec, entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    statement = query("review_neighbours", target=sql.Identifier(spec.name), in_series=_in_series(spec, "%(series)s"))
    return connection.execute(statement, {**entry, "most": MOST_AT_AN_INSTANT}).fetchall()


def _in_series(spec: DatasetSpec, series: LiteralString) -> sql.Composable:
    return sql.SQL("t.timeframe = " + series) if spec.series_in_key else sql.SQL("true")


def _published(connection: Connection, spec: DatasetSpec, ids: list[int]) -> list[dict[str, Any]]:
    """Of the rows those whose key is published: `source`, and whether a release would replace it, `is_other`."""
    statement = query(
        "review_published",
        target=sql.Identifier(spec.name),
        in_series=_in_series(spec, "q.series"),
        ids=sql.SQL("SELECT unnest(%(ids)s::bigint[])"),
    )
    values = [column.name for column in spec.values]
    return connection.execute(statement, {"ids": ids, "key": releasing.key_in_row(spec), "values": values}).fetchall()


def _rivals(connection: Connection, spec: DatasetSpec, ids: list[int]) -> list[dict[str, Any]]:
    """Other rows of the same source and key, an entry for each expectation that they fail."""
    statement = query("review_rivals", rival=query("review_rival"))
    return connection.execute(statement, {"ids": ids, "key": releasing.key_in_row(spec)}).fetchall()


def _about(name: str) -> sql.Composed:
    return query(name, matches=query("review_matches"))


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


def decide(deployment: Deployment, chosen: Selection, said: Judgement) -> Decided:
    """Record a decision about all that is chosen, or about nothing. What it releases is then to be loaded: `plan`.

    Raises:
        BadConfiguration: nothing in particular is chosen.
        ReviewRefused: a number is unknown or decided already, nothing matches, or a row can't be released.
        StoreUnavailable: the database does not answer.
    """
    if not chosen.chooses:
        raise BadConfiguration("no rows are chosen.", hint="Name rows by their numbers, or give a filter.")
    with session(deployment.database_url) as connection, connection.transaction():
        connection.execute(query("review_begin"))
        marked = int(
            one(connection, query("review_decided"), {"review": said.review, "decision": said.decision})["rows"]
        )
        if marked:
            # Recorded before, by an attempt that was killed before it could say so.
            return Decided(marked, reviews=(said.review,) if said.decision == "released" else ())
        return _decide(connection, chosen, said)


def _decide(connection: Connection, chosen: Selection, said: Judgement) -> Decided:
    entries = connection.execute(_about("review_lock"), chosen.parameters()).fetchall()
    _demand_known(chosen, entries)
    # A release that was stopped is gone on with.
    stopped = [entry for entry in entries if said.decision == "released" and _is_unsettled(entry)]
    open_ones = [entry for entry in entries if entry["decision"] is None]
    _demand_undecided(chosen, entries, stopped)
    rivals: list[int] = []
    replaces = 0
    if said.decision == "released":
        rivals = _demand_releasable(connection, entries, open_ones, said)
        replaces = _demand_nothing_there(connection, open_ones + stopped, said)
    if not open_ones and not stopped:
        raise NothingToReview("nothing that waits for a decision matches.", hint=LOOK)
    _mark(connection, open_ones, said)
    if rivals:
        _mark(connection, [{"id": number} for number in rivals], replace(said, decision="rejected"))
    reviews = {entry["review"] for entry in stopped} | ({said.review} if open_ones else set())
    publishes = tuple(sorted(reviews)) if said.decision == "released" else ()
    return Decided(len(open_ones), len(rivals), replaces, publishes)


def _mark(connection: Connection, entries: Iterable[Mapping[str, Any]], said: Judgement) -> None:
    parameters = {"decision": said.decision, "note": said.note.strip(), "decided_by": said.by, "review": said.review}
    connection.execute(query("review_mark"), parameters | {"ids": [entry["id"] for entry in entries]})


def _is_unsettled(entry: Mapping[str, Any]) -> bool:
    return entry["decision"] == "released" and entry["settled_at"] is None


def _demand_known(chosen: Selection, entries: list[dict[str, Any]]) -> None:
    if not entries and not chosen.ids:
        raise NothingToReview("nothing that waits for a decision matches.", hint=LOOK)
    unknown = sorted(set(chosen.ids) - {entry["id"] for entry in entries})
    if unknown:
        raise _unknown(unknown)


def _unknown(numbers: list[int]) -> ReviewRefused:
    named = ", ".join(map(str, numbers[:NAMED]))
    return ReviewRefused(
        f"{named}: no such rows in the quarantine, or the filters leave them out.",
        hint="Numbers are in the first column of `python -m perpflow quarantine list`.",
    )


def _demand_undecided(chosen: Selection, entries: list[dict[str, Any]], stopped: list[dict[str, Any]]) -> None:
    """Refuse what was named by its number and is decided; what filters find is not."""
    done = [entry for entry in entries if entry["id"] in chosen.ids and entry["decision"] and entry not in stopped]
    if done:
        raise ReviewRefused(f"{_some(done, _past)}.", hint="A decision stands.")


def _past(entry: Mapping[str, Any]) -> str:
    when = f"{entry['reviewed_at']:%Y-%m-%d %H:%M} UTC"
    return f"was {entry['decision']} by {entry['decided_by']} on {when}: {entry['note']}"


def _demand_releasable(
    connection: Connection, entries: list[dict[str, Any]], open_ones: list[dict[str, Any]], said: Judgement
) -> list[int]:
    """Refuse a release that could not be published, or not without ambiguity; returns the rivals to reject."""
    rejected = [entry for entry in entries if entry["decision"] == "rejected"]
    for faulty, why, hint in (
        ([e for e in open_ones if e["is_frame"]], lambda _: "is a frame that nobody can read", "Reject it."),
        ([e for e in open_ones if e["time"] is None], lambda _: "has no instant", "Reject it."),
        ([e for e in open_ones if e["lacking"]], lambda e: f"has no {', '.join(e['lacking'])}", "Reject it."),
        (rejected, lambda e: f"was rejected for {e['expectation']}", "What is rejected is never published."),
    ):
        if faulty:
            raise ReviewRefused(f"can't be released: {_some(faulty, why)}.", hint=hint)
    return _demand_no_rivals(connection, open_ones, said)


def _demand_no_rivals(connection: Connection, open_ones: list[dict[str, Any]], said: Judgement) -> list[int]:
    released = {entry["id"] for entry in open_ones}
    rivals: dict[int, dict[str, Any]] = {}
    for dataset in sorted({entry["dataset"] for entry in open_ones}):
        ids = [entry["id"] for entry in open_ones if entry["dataset"] == dataset]
        found = _rivals(connection, TABLES[dataset], ids)
        # What is rejected for one thing never passes, whatever becomes of the rest.
        out = {rival["row_hash"] for rival in found if rival["decision"] == "rejected"}
        rivals |= {rival["id"]: rival for rival in found if rival["row_hash"] not in out}
    among = [rival for number, rival in rivals.items() if number in released]
    if among or (rivals and not said.reject_rivals):
        named = _some(among or rivals.values(), lambda rival: f"has the same key as {rival['of']}")
        raise ReviewRefused(
            f"can't be released: {named}.",
            hint="One of them at most can be right: release that one with --reject-rivals, or reject the others first.",
        )
    return sorted(number for number, rival in rivals.items() if rival["settled_at"] is None)


def _demand_nothing_there(connection: Connection, entries: list[dict[str, Any]], said: Judgement) -> int:
    """Refuse to replace what the same source has given and is published, unless told to; returns how much it is."""
    replaced: dict[int, dict[str, Any]] = {}
    for dataset in sorted({entry["dataset"] for entry in entries}):
        ids = [entry["id"] for entry in entries if entry["dataset"] == dataset]
        found = _published(connection, TABLES[dataset], ids)
        replaced |= {row["id"]: row for row in found if row["is_other"]}
    if replaced and not said.reject_rivals:
        named = _some(replaced.values(), lambda row: f"would replace what {row['source']} gave and is published")
        raise ReviewRefused(
            f"can't be released: {named}.", hint="If it is right after all, use --reject-rivals; else reject it."
        )
    # A row that fails several expectations replaces one.
    return len({(e["dataset"], e["symbol"], e["series"], e["time"]) for e in entries if e["id"] in replaced})


def _some(entries: Iterable[Mapping[str, Any]], what: Any) -> str:
    entries = list(entries)
    more = f"; and {len(entries) - NAMED} more" if len(entries) > NAMED else ""
    return "; ".join(f"{entry['id']} {what(entry)}" for entry in entries[:NAMED]) + more


# --- carry out


def plan(deployment: Deployment, run: str, reviews: tuple[str, ...] | None = None) -> Plan:
    """Batches of what reviews have released and nobody has published yet; of all reviews where none is named.

    Raises:
        StoreUnavailable: the database does not answer.
    """
    with session(deployment.database_url) as connection:
        return releasing.plan(connection, run, reviews)
