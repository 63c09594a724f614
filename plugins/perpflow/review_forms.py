"""What a review by form is made of: groups of waiting rows, the question about each, and what the answer decides.

A group travels between Airflow's tasks as plain values: `label`, `dataset`, `expectation`, `symbols` (empty: all) and
`up_to`, the highest number of a row that was there: what comes later is for the next review.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from perpflow import reviewing
from perpflow.errors import BadConfiguration, NothingToReview, ReviewRefused
from perpflow.quarantine_tables import NEIGHBOURS_SHOWN, ROWS_SHOWN, group_markdown, symbols_of
from perpflow.reviewing import Decided, Judgement, Selection, Shown
from perpflow.settings import Deployment

#: As many groups in a run, the largest ones; each is a question to a person.
MOST_GROUPS = 20


@dataclass(frozen=True, slots=True)
class Question:
    """What a person is asked about a group; `body` is Markdown."""

    subject: str
    body: str


def groups(deployment: Deployment, form: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The groups that wait, by what a form asks for: `datasets`, `symbols`, `expectation`, each empty for all.

    Raises:
        BadConfiguration: a dataset is unknown.
        StoreUnavailable: the database does not answer.
    """
    chosen = Selection(
        datasets=tuple(form["datasets"] or ()),
        symbols=tuple(symbol for symbol in form["symbols"] or () if symbol != "all"),
        expectation=form["expectation"] or None,
    )
    found = sorted(reviewing.waiting(deployment, chosen, most=0).groups, key=lambda group: -group["rows"])
    return [_travelling(group, chosen) for group in found[:MOST_GROUPS]]


def _travelling(group: Mapping[str, Any], chosen: Selection) -> dict[str, Any]:
    names = ("dataset", "expectation", "rows", "up_to")
    label = f"{group['dataset']} {group['expectation']}"
    return {name: group[name] for name in names} | {"label": label, "symbols": list(chosen.symbols)}


def question(deployment: Deployment, group: Mapping[str, Any]) -> Question:
    """What a person is to decide, with the first rows among their neighbours.

    Raises:
        StoreUnavailable: the database does not answer.
    """
    found = reviewing.waiting(deployment, _chosen(group), ROWS_SHOWN)
    if not found.groups:
        return Question(f"{group['label']}: decided meanwhile", "Nothing of this waits any more: choose `leave`.")
    (about,) = found.groups
    shown = _first_shown(deployment, [row["id"] for row in found.rows])
    subject = f"{group['dataset']}: {about['rows']:,} rows of {symbols_of(about, 1)} fail {group['expectation']}"
    return Question(subject, group_markdown(about, found.rows, shown))


def _first_shown(deployment: Deployment, numbers: list[int]) -> list[Shown]:
    """The first rows among their neighbours; rivals stand together, and are not shown once more each."""
    shown: list[Shown] = []
    seen: set[int] = set()
    for number in numbers:
        if number not in seen and len(shown) < NEIGHBOURS_SHOWN:
            shown.append(reviewing.show(deployment, number))
            seen |= {entry["id"] for entry in (*shown[-1].entries, *shown[-1].rivals)}
    return shown


def _chosen(group: Mapping[str, Any]) -> Selection:
    return Selection(
        datasets=(group["dataset"],),
        symbols=tuple(group["symbols"]),
        expectation=group["expectation"],
        up_to=group["up_to"],
    )


def answer(deployment: Deployment, group: Mapping[str, Any], given: Mapping[str, Any], review: str) -> Decided:
    """Record what a person has answered; nothing where rows are left, or others have decided about all of them.

    Nobody stands by to answer once more: one wrong number must not lose what was said of the others.

    Args:
        given: the `chosen_options`, `params_input` and `responded_by_user` of Airflow's answer.

    Raises:
        BadConfiguration: the note is empty.
        ReviewRefused: the rows can't be released, and nothing is recorded; or numbers are unknown or decided, and what
            was said of all others is recorded.
    """
    (option,) = given["chosen_options"]
    if option == "leave":
        return Decided()
    said = given["params_input"]
    judgement = Judgement(
        decision="released" if option == "release" else "rejected",
        note=said.get("note") or "",
        by=_person(given.get("responded_by_user")),
        review=review,
        reject_rivals=bool(said.get("reject_rivals")),
    )
    numbers = said.get("rows") or []
    try:
        decided = reviewing.decide(deployment, _answered(group, numbers), judgement, known_alone=True)
    except NothingToReview:
        if numbers:
            raise
        return Decided()
    if decided.left_out:
        raise ReviewRefused(
            f"{' '.join(decided.left_out)} What the answer says of all other rows is recorded: "
            f"{decided.marked} entries {judgement.decision}.",
            hint="Those that wait are asked about by the next run of review_quarantine.",
        )
    return decided


def _answered(group: Mapping[str, Any], numbers: list[str]) -> Selection:
    """The group, or the rows of it that are named, with whatever else these fail."""
    chosen = _chosen(group)
    if not numbers:
        return chosen
    try:
        ids = tuple(int(number) for number in numbers)
    except ValueError as error:
        raise BadConfiguration(f"rows = {numbers}: not numbers.", hint="Write one number a line.") from error
    return replace(chosen, ids=ids, expectation=None, up_to=None)


def _person(user: Mapping[str, Any] | None) -> str:
    """The name of Airflow's user; nobody has answered where the time was over."""
    return str((user or {}).get("name") or (user or {}).get("id") or "Airflow")
