"""A day's report as tables for a terminal: the same facts as on the page, under the same headings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from perpflow.reports.facts import Facts, Summary
from perpflow.reports.page import (
    changed,
    completeness,
    file_name,
    headline,
    instant,
    number,
    percent,
    shorter,
    staged,
    title,
    window_of,
    worst_series,
)
from perpflow.store.database import Row
from perpflow.terminal import new_table

#: What the widest of them needs.
WIDTH = 150
EVER = ("#Released ever", "#Rejected ever")
#: How findings of freshness are called, as on the page.
STATES = {"green": "current", "yellow": "look", "red": "late"}


@dataclass(frozen=True, slots=True)
class Lines:
    """A table as text: a head that begins with `#` is of numbers. Where it has none, `nothing` says what that means."""

    title: str
    heads: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    nothing: str

    def render(self) -> RenderableType:
        """For a console."""
        return self._table() if self.rows else f"{self.title}: {self.nothing}\n"

    def _table(self) -> Table:
        made = new_table(self.title)
        for head in self.heads:
            is_number = head.startswith("#")
            made.add_column(head.lstrip("#"), justify="right" if is_number else "left", no_wrap=is_number)
        for row in self.rows:
            made.add_row(*map(escape, row))
        return made


def render(facts: Facts) -> RenderableType:
    """The day's first line and all its tables."""
    first = f"{facts.day}: {headline(Summary.of(facts))}. Times are UTC.\n"
    return Group(first, *(lines.render() for lines in tables(facts)))


def tables(facts: Facts) -> Iterator[Lines]:
    """The page's tables, but for those of audits, which the command has printed, and of the latest rows that wait,
    which `quarantine list` shows."""
    yield _completeness(facts)
    yield _worst(facts)
    yield _failures(facts)
    yield _freshness(facts)
    yield _quarantine(facts)
    yield _corrections(facts)
    yield _files(facts)
    yield _reconciled(facts)
    yield _loads(facts)


def _completeness(facts: Facts) -> Lines:
    numbers = ("#Symbols", "#Expected", "#There", "#Absent upstream", "#In quarantine", "#Missing", "#Complete")
    rows = [
        (
            *(title(line["dataset"]), line["series"], number(line["symbols"])),
            *(number(getattr(line["points"], name)) for name in ("expected", "present", "absent")),
            *(number(getattr(line["points"], name)) for name in ("quarantined", "missing")),
            percent(line["points"].share),
        )
        for line in completeness(facts.series)
    ]
    return Lines("Completeness", ("Dataset", "Series", *numbers), rows, "nothing has been collected yet.")


def _worst(facts: Facts) -> Lines:
    heads = ("Dataset", "Symbol", "Series", "#Missing", "#In quarantine", "#Complete", "First hole, and how long")
    rows = [
        (
            *(title(line["series"].dataset), line["series"].symbol, line["series"].name),
            *(number(line["series"].points.missing), number(line["series"].points.quarantined)),
            *(percent(line["series"].points.share), window_of(line["holes"])),
        )
        for line in worst_series(facts.series)["shown"]
    ]
    return Lines("Series with holes", heads, rows, "none.")


def _failures(facts: Facts) -> Lines:
    of = staged(facts.loads)
    rows = [
        (
            *(title(row["dataset"]), row["expectation"], row["severity"], number(row["failing"])),
            f"{100 * row['failing'] / of[row['dataset']]:.3f} %" if of.get(row["dataset"]) else "–",
            *(number(row["withheld"]), number(row["batches"])),
        )
        for row in facts.failures
    ]
    heads = ("Dataset", "Expectation", "Severity", "#Rows", "#Share of rows", "#Withheld", "#Batches")
    nothing = "every row met every expectation." if facts.loads else "nothing was loaded, so nothing was checked."
    return Lines("Failures by expectation", heads, rows, nothing)


def _freshness(facts: Facts) -> Lines:
    rows = [
        (
            *(title(finding.subject), facts.schedules[finding.subject], STATES[str(finding.level)]),
            shorter(". ".join(filter(None, (finding.cause, finding.advice if finding.level else ""))), 400),
        )
        for finding in facts.freshness
    ]
    return Lines("Freshness", ("Dataset", "Schedule", "State", "What was found"), rows, "nothing is collected.")


def _quarantine(facts: Facts) -> Lines:
    heads = ("#Waiting", "Since", "#New", "#Released", "#Rejected", "#Superseded", *EVER)
    rows = [
        (
            *(title(row["dataset"]), row["expectation"], number(row["waiting"]), instant(row["since"])),
            *_numbers(row, "arrived", "released", "rejected", "superseded", "released_ever", "rejected_ever"),
        )
        for row in facts.quarantine
    ]
    return Lines(
        "Quarantine", ("Dataset", "Expectation", *heads), rows, "nothing was withheld up to the end of the day."
    )


def _corrections(facts: Facts) -> Lines:
    rows = [
        (
            *(title(row["dataset"]), *_numbers(row, "rows", "symbols"), instant(row["first"]), instant(row["last"])),
            *(f"{row['source']} {file_name(row['origin'])}", f"{row['symbol']} {changed(row)}"),
        )
        for row in facts.corrections
    ]
    heads = ("Dataset", "#Rows", "#Symbols", "From", "To", "File or endpoint", "For example")
    return Lines("Corrections", heads, rows, "no source has changed what it had given before.")


def _files(facts: Facts) -> Lines:
    rows = [
        (
            file_name(row["key"]),
            "issued again, read in part" if row["verdict"] == "ok" else row["verdict"],
            *(shorter(row["detail"], 200), number(row["attempts"])),
            *(instant(row["last_modified"]), instant(row["read_at"])),
        )
        for row in facts.objects
    ]
    heads = ("File", "Verdict", "Detail", "#Tries", "Issued", "Read")
    return Lines("Archive files left out or issued again", heads, rows, "none.")


def _reconciled(facts: Facts) -> Lines:
    rows = [
        (
            *(title(row["dataset"]), row["column"]),
            *_numbers(row, "symbols", "agree", "within", "beyond", "archive_only", "rest_only"),
            *(f"{row['tolerance']:g}", instant(row["compared_at"])),
        )
        for row in facts.reconciled
    ]
    numbers = ("#Symbols", "#Agree", "#Within tolerance", "#Beyond", "#Archive alone", "#REST alone", "#Tolerance")
    nothing = "never compared; `python -m perpflow reconcile` does it."
    return Lines("Archive against REST", ("Dataset", "Column", *numbers, "Compared"), rows, nothing)


def _loads(facts: Facts) -> Lines:
    rows = [
        (
            *(title(row["dataset"]), row["loader"]),
            *_numbers(row, "batches", "staged", "inserted", "updated", "corrected", "unchanged", "quarantined"),
            *(f"{row['first']:%H:%M}", f"{row['last']:%H:%M}"),
        )
        for row in facts.loads
    ]
    numbers = ("#Batches", "#Rows staged", "#New", "#Changed", "#Corrected", "#Unchanged", "#Withheld")
    heads = ("Dataset", "Loaded by", *numbers, "First", "Last")
    return Lines("Loads of the day", heads, rows, "nothing was loaded.")


def _numbers(row: Row, *names: str) -> Iterator[str]:
    return (number(row[name]) for name in names)
