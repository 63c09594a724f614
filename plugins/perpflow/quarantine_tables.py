"""What is in the quarantine, for people: as tables, as lines, as Markdown for Airflow's forms, as plain values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from perpflow.datasets import TABLES
from perpflow.reviewing import Shown, Waiting
from perpflow.terminal import new_table

#: What the tables need; narrower, they would cut off names and numbers.
WIDTH = 160
#: The same of a row's table: a candle has nine values.
ROW_WIDTH = 200
#: Of a group's rows so many are shown with their neighbours, and so many more in one table.
NEIGHBOURS_SHOWN, ROWS_SHOWN = 3, 10
UNSETTLED = "{} entries are released and not published yet. If nobody is at work on them, release them again."
SUPERSEDED = "{} entries were superseded by what their source gave later; --superseded shows them."

Line = tuple[str, str, dict[str, Any]]


def waiting_tables(found: Waiting, most: int) -> RenderableType:
    """Groups by what is failed, and the first rows; `WIDTH` columns wide."""
    if not found.groups:
        return Group(
            Text(f"{_nothing(found).capitalize()}.", style="yellow" if found.others else "green"), *_notes(found, most)
        )
    title = "Superseded by what their source gave later" if found.is_superseded else "Waiting for a decision"
    return Group(_groups(found.groups, f"{title} (times are UTC)"), _rows(found.rows), *_notes(found, most))


def _nothing(found: Waiting) -> str:
    verb = "was superseded" if found.is_superseded else "waits for a decision"
    if found.others:
        return f"nothing of that {verb}; {found.others} other entries {'were' if found.is_superseded else 'do'}"
    return f"nothing {verb}"


def _notes(found: Waiting, most: int) -> Iterator[Text]:
    if len(found.rows) == most:
        yield Text(f"The first {most} rows; --most shows more.")
    if found.unsettled:
        yield Text(UNSETTLED.format(found.unsettled), style="yellow")
    if found.superseded and not found.is_superseded:
        yield Text(SUPERSEDED.format(found.superseded))


def _groups(groups: Iterable[Mapping[str, Any]], title: str) -> Table:
    made = new_table(title)
    for name in ("dataset", "expectation"):
        made.add_column(name, overflow="fold")
    made.add_column("rows", justify="right", no_wrap=True)
    for name in ("symbols", "first", "last"):
        made.add_column(name, no_wrap=True)
    made.add_column("why it is expected")
    for group in groups:
        span = (instant(group["first"]), instant(group["last"]))
        cells = (group["dataset"], group["expectation"], f"{group['rows']:,}", symbols_of(group, 1), *span)
        made.add_row(*map(Text, (*cells, group["reason"])))
    return made


def _rows(rows: Iterable[Mapping[str, Any]]) -> Table:
    made = new_table("Rows")
    made.add_column("row", justify="right", no_wrap=True)
    for name in ("dataset", "symbol", "series", "time"):
        made.add_column(name, no_wrap=True)
    for name in ("expectation", "value"):
        made.add_column(name, overflow="fold")
    for name in ("source", "published"):
        made.add_column(name, no_wrap=True)
    for row in rows:
        subject = (row["dataset"], row["symbol"], row["series"], instant(row["time"]))
        sources = (row["source"], row["published"] or "-")
        cells = (str(row["id"]), *subject, row["expectation"], row["value"] or "-", *sources)
        # As text: in what comes from outside rich would take brackets for its own marks.
        made.add_row(*map(Text, cells))
    return made


def waiting_lines(found: Waiting, most: int) -> Iterator[str]:
    """The same as plain lines."""
    for group in found.groups:
        span = f"{_iso(group['first'])} to {_iso(group['last'])}"
        yield (
            f"{group['dataset']} {group['expectation']}: {group['rows']} rows of {symbols_of(group, 3)}, {span}: "
            f"{group['reason']}"
        )
    for row in found.rows:
        subject = f"{row['dataset']} {row['symbol']} {row['series']} {_iso(row['time'])}"
        there = f" published={row['published']}" if row["published"] else ""
        yield f"{row['id']} {subject} {row['expectation']} value={row['value']} source={row['source']}{there}"
    if not found.groups:
        yield _nothing(found)
    yield from map(str, _notes(found, most))


def symbols_of(group: Mapping[str, Any], most: int) -> str:
    """The first symbols of a group, and how many more there are."""
    named = group["symbols"][:most]
    more = group["symbol_count"] - len(named)
    return ", ".join(named) + (f" +{more}" if more else "")


# --- one row


def row_tables(shown: Shown) -> RenderableType:
    """A row, what it fails, and the rows around it; `ROW_WIDTH` columns wide."""
    first = shown.entries[0]
    made = new_table(escape(f"{_subject(first)} from {first['source']}, {first['origin']}"))
    columns = value_columns(shown)
    made.add_column("", no_wrap=True)
    made.add_column("time (UTC)", no_wrap=True)
    for name in columns:
        made.add_column(name, justify="right", overflow="fold")
    for label, time, values in lines(shown):
        style = "bold yellow" if label.startswith("row ") else ""
        made.add_row(*map(Text, (label, time, *(_cell(values.get(name)) for name in columns))), style=style)
    return Group(made, *(Text(line) for line in failures(shown)))


def row_lines(shown: Shown) -> Iterator[str]:
    """The same as plain lines."""
    yield _subject(shown.entries[0])
    columns = value_columns(shown)
    for label, time, values in lines(shown):
        facts = " ".join(f"{name}={_cell(values.get(name))}" for name in columns)
        yield f"{label}: {time} {facts}"
    yield from failures(shown)


def row_markdown(shown: Shown) -> str:
    """The row among its neighbours as a table of Markdown."""
    columns = value_columns(shown)
    table = [("", "time (UTC)", *columns), ("---",) * (len(columns) + 2)]
    for label, time, values in lines(shown):
        cells = (label, time, *(_cell(values.get(name)) for name in columns))
        table.append(tuple(f"**{cell}**" for cell in cells) if label.startswith("row ") else cells)
    return "\n".join(f"| {' | '.join(map(_escaped, cells))} |" for cells in table)


def lines(shown: Shown) -> Iterator[Line]:
    """The published row before, the row itself, its rivals, what is published at its instant, the one after."""
    first = shown.entries[0]
    around: dict[str, list[Line]] = {"before": [], "published": [], "after": []}
    for neighbour in shown.neighbours:
        label = "published" if neighbour["place"] == "published" else f"published {neighbour['place']}"
        around[neighbour["place"]].append((label, instant(neighbour["time"]), neighbour["row"]))
    rivals = {rival["row_hash"]: rival for rival in reversed(shown.rivals)}
    yield from around["before"]
    yield f"row {first['id']}", instant(first["time"]), first["row"]
    for rival in rivals.values():
        yield f"row {rival['id']}, same key", instant(first["time"]), rival["row"]
    yield from around["published"]
    yield from around["after"]


def value_columns(shown: Shown) -> list[str]:
    """The columns that tell rows apart; of a frame that nobody can read, the frame."""
    first = shown.entries[0]
    if "frame" in first["row"]:
        return ["frame"]
    names = [column.name for column in TABLES[first["dataset"]].columns]
    return [name for name in names if name not in ("symbol", "timeframe", "time")]


def failures(shown: Shown) -> Iterator[str]:
    """What the row fails, and what was decided about it."""
    for entry in shown.entries:
        value = "" if entry["value"] is None else f" ({entry['column']} = {entry['value']})"
        yield f"{entry['id']} fails {entry['expectation']}{value}: {entry['reason']}"
        if entry["decision"]:
            when = f"{entry['reviewed_at']:%Y-%m-%d %H:%M} UTC"
            said = f"{entry['decision']} by {entry['decided_by']} on {when}{_outcome(entry, shown)}"
            yield f"  {said}: {entry['note']}"


def _outcome(entry: Mapping[str, Any], shown: Shown) -> str:
    """What has become of a release: the batch that carries it out may withhold the row for what else it fails."""
    if entry["decision"] != "released":
        return ""
    if entry["settled_at"] is None:
        return ", not published yet"
    if shown.is_published:
        return ", published"
    others = [each["expectation"] for each in shown.entries if each["decision"] in (None, "rejected")]
    return f", withheld again for {', '.join(others)}" if others else ", published, and replaced since"


def group_markdown(group: Mapping[str, Any], rows: list[dict[str, Any]], shown: list[Shown]) -> str:
    """A group of rows for a person who is to decide about it: what is expected, and the first rows among theirs."""
    span = f"{instant(group['first'])} to {instant(group['last'])} UTC"
    about = f"**{group['rows']:,} rows** of {group['dataset']}, {symbols_of(group, 10)}, {span}"
    parts = [f"{about}, fail `{group['expectation']}`.", f"> {group['reason']}"]
    parts += [f"{_subject(one.entries[0])}\n\n{row_markdown(one)}{_history_markdown(one)}" for one in shown]
    seen = {entry["id"] for one in shown for entry in (*one.entries, *one.rivals)}
    rest = [row for row in rows[:ROWS_SHOWN] if row["id"] not in seen]
    if rest:
        names = ("row", "symbol", "series", "time (UTC)", "value", "source", "published")
        table = [f"| {' | '.join(names)} |", "|" + " --- |" * len(names)]
        table += [f"| {' | '.join(_escaped(str(cell)) for cell in _listed(row))} |" for row in rest]
        parts.append("\n".join(table))
    if group["rows"] > ROWS_SHOWN:
        parts.append(f"And {group['rows'] - ROWS_SHOWN:,} more: `python -m perpflow quarantine list` shows them all.")
    return "\n\n".join(parts)


def _history_markdown(shown: Shown) -> str:
    """What was decided about the row before, where anything was: it may be released from something else already."""
    if not any(entry["decision"] for entry in shown.entries):
        return ""
    return "\n\n" + "\n".join(f"- {_escaped(line.strip())}" for line in failures(shown))


def _listed(row: Mapping[str, Any]) -> tuple[Any, ...]:
    there = row["published"] or "-"
    return row["id"], row["symbol"], row["series"], instant(row["time"]), row["value"], row["source"], there


def _subject(entry: Mapping[str, Any]) -> str:
    return f"{entry['dataset']} {entry['symbol']} {entry['series']} {instant(entry['time'])}"


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value}"


def _escaped(text: str) -> str:
    """Text that no table of Markdown takes for its own: frames and names come from outside."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def instant(time: datetime | None) -> str:
    """To the second where there are any, for liquidations."""
    return "-" if time is None else f"{time:%Y-%m-%d %H:%M:%S}".removesuffix(":00")


def _iso(time: datetime | None) -> str:
    return "-" if time is None else time.isoformat()


# --- plain values


def plain(value: Any) -> Any:
    """Instants as ISO text, all else as it is: what JSON can hold."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list) else value
