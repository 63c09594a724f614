"""Wire rows to CSV for COPY. Pure: no clock, no I/O.

Archive members go into COPY as the bytes they are, with the batch's columns put in front of every line: no Python
object per row. REST answers are small (at most 1500 rows) and are rendered to the same CSV. Nothing is converted here:
times stay the wire's milliseconds or text, and the staging tables derive what the fact tables need.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from perpflow.errors import StructurallyBad
from perpflow.specs import RestSource

#: What would end a CSV field or line. No number or time of the exchange holds one of them.
_CSV_SPECIAL = frozenset(',"\r\n')
_DIGITS = b"0123456789"
NEWLINE, COMMA = b"\n,"
#: A month of 1m candles with its prefixes is 9 MB, and several are under way: a copy of them is made a piece at a time.
PIECE_BYTES = 256 * 1024
#: How the archive's metrics write an instant (UTC, without a zone), and how the generation with one row a day wrote it;
#: a zero stands for any digit.
_INSTANT, _DATE = b"0000-00-00 00:00:00", b"0000-00-00"


def rows_of(member: bytes) -> bytes:
    """A member's rows in the form that the rest of this module takes: a bare newline between them, none at the end.

    Older archive members have no header line, newer ones do, even within one symbol. Every column that the archive puts
    first is a time, so a first byte that is no digit begins a header.
    """
    rows = member if member[:1] in _DIGITS else member.partition(b"\n")[2]
    return rows.replace(b"\r\n", b"\n").rstrip(b"\n")


def prefixed(rows: bytes, prefix: bytes, columns: int) -> Iterator[bytes]:
    """The same rows with `prefix` at the start of each line and a newline at its end; in pieces of whole lines.

    Raises:
        StructurallyBad: at once, a line is blank, or the rows do not have `columns` columns (archive fields are never
            quoted, so commas tell).
    """
    if rows:
        _check_columns(rows, columns)
    return _pieces(rows, prefix)


def _pieces(rows: bytes, prefix: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(rows):
        end = rows.find(b"\n", start + PIECE_BYTES)
        end = len(rows) if end < 0 else end
        yield prefix + rows[start:end].replace(b"\n", b"\n" + prefix) + b"\n"
        start = end + 1


def _check_columns(rows: bytes, columns: int) -> None:
    first = rows.partition(b"\n")[0]
    found = first.count(b",") + 1
    if found != columns:
        raise StructurallyBad(
            f"expected {columns} columns, found {found} in the first row {first[:120]!r}.",
            hint="Compare the source's documentation with its columns in datasets.py.",
        )
    text = np.frombuffer(rows, np.uint8)
    starts = _line_starts(text)
    are_blank = (np.diff(starts) == 1).any() or starts[-1] == len(text)
    if are_blank or np.count_nonzero(text == COMMA) != len(starts) * (columns - 1):
        raise StructurallyBad(
            f"some of {len(starts)} rows do not have {columns} columns.",
            hint="Look at the file: lines are blank, cut or run together.",
        )


def _line_starts(text: npt.NDArray[np.uint8]) -> npt.NDArray[np.intp]:
    return np.concatenate(([0], np.flatnonzero(text == NEWLINE) + 1))


def copy_prefix(stage_id: int, origin: int, source: str, symbol: str, series: str) -> bytes:
    """The first five staging columns as CSV (UTF-8), ending in a comma."""
    fields = (str(stage_id), str(origin), source, symbol, series)
    return ",".join(map(_quoted, fields)).encode() + b","


def _quoted(field: str) -> str:
    if _CSV_SPECIAL.isdisjoint(field):
        return field
    return '"' + field.replace('"', '""') + '"'


def render_rows(rows: Iterable[object], source: RestSource) -> bytes:
    """REST rows (JSON lists or objects) as CSV rows with the columns of `source.fields`, in that order.

    Empty strings and null become NULL; numbers and text stay as they came; fields not named in `source.fields` are
    ignored, because the exchange adds some every year.

    Raises:
        StructurallyBad: a row lacks a field, or a value is not a plain number or text.
    """
    keys = [key for key, _ in source.fields]
    return b"\n".join(_render_row(row, keys, source.path) for row in rows)


def _render_row(row: object, keys: list[str | int], path: str) -> bytes:
    return ",".join([_render_field(row, key, path) for key in keys]).encode()


def _render_field(row: object, key: str | int, path: str) -> str:
    value = _value(row, key, path)
    if value is None:
        return ""
    if isinstance(value, str) and _CSV_SPECIAL.isdisjoint(value):
        return value
    # bool is an int to Python, but not a number of the exchange.
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise StructurallyBad(f"{path}: field {key!r} is {value!r}, not a number or text.", hint=_COMPARE)


_COMPARE = "Compare the endpoint's documentation with its fields in datasets.py."


def _value(row: object, key: str | int, path: str) -> object:
    if isinstance(row, dict) and key in row:
        return row[key]
    if isinstance(row, list) and isinstance(key, int) and key < len(row):
        return row[key]
    raise StructurallyBad(f"{path}: a row has no field {key!r}: {str(row)[:120]}.", hint=_COMPARE)


def labels(rows: bytes) -> tuple[str, str, int]:
    """The first column of the first and the last row, and the number of rows; `("", "", 0)` without any."""
    if not rows:
        return "", "", 0
    first, last = rows.partition(b"\n")[0], rows.rpartition(b"\n")[2]
    return _label(first), _label(last), rows.count(b"\n") + 1


def _label(line: bytes) -> str:
    return line.partition(b",")[0].decode()


def label_column(rows: bytes) -> npt.NDArray[np.bytes_] | None:
    """The first column as text of one width, which is how times of one unit are written; None where widths differ.

    One look at the bytes as a whole; a millisecond for a month of 5m candles.
    """
    width = rows.find(b",")
    text = np.frombuffer(rows, np.uint8)
    starts = _line_starts(text)
    if width <= 0 or starts[-1] + width >= len(text):
        return None
    column = text[starts[:, None] + np.arange(width)]
    if (column == COMMA).any() or (text[starts + width] != COMMA).any():
        return None
    return np.ascontiguousarray(column).view(f"S{width}").ravel()


def backward_steps(labels: npt.NDArray[np.bytes_] | None) -> int:
    """How many rows' labels are below the one before: 0 in a file that is sorted, or whose labels have no order."""
    return 0 if labels is None else int((labels[1:] < labels[:-1]).sum())


def instants(rows: bytes) -> npt.NDArray[np.datetime64]:
    """The first column of rows that are labelled `YYYY-MM-DD HH:MM:SS` (UTC), to the second, in the file's order.

    Raises:
        StructurallyBad: a label is written otherwise, or is no instant of the calendar.
    """
    texts = label_column(rows)
    if texts is not None and _are_written_like(texts, _DATE):
        raise StructurallyBad(
            f"one row a day (label {texts[0].decode()}): the daily generation of this file, not 5-minute data.",
            hint="It will be asked for again: such files get re-issued with rows of five minutes.",
        )
    if texts is None or not _are_written_like(texts, _INSTANT):
        raise _no_instants(rows, "are not all written YYYY-MM-DD HH:MM:SS")
    try:
        return texts.astype("datetime64[s]")
    except ValueError as error:
        raise _no_instants(rows, f"are not all in the calendar ({error})") from error


def _are_written_like(texts: npt.NDArray[np.bytes_], pattern: bytes) -> bool:
    if texts.itemsize != len(pattern):
        return False
    found = texts.view(np.uint8).reshape(-1, len(pattern))
    zeroed = np.where((found >= ord("0")) & (found <= ord("9")), ord("0"), found)
    return bool((zeroed == np.frombuffer(pattern, np.uint8)).all())


def _no_instants(rows: bytes, what: str) -> StructurallyBad:
    first, last, _ = labels(rows)
    return StructurallyBad(
        f"its labels, from {first[:40]!r} to {last[:40]!r}, {what}.",
        hint="Compare the file with the archive's documentation.",
    )


def relabelled(rows: bytes, moments: npt.NDArray[np.datetime64]) -> bytes:
    """The same rows with other instants in the place of theirs, which must be written as `instants` takes them."""
    text = np.frombuffer(rows, np.uint8).copy()
    written = np.datetime_as_string(moments, unit="s").astype(f"S{len(_INSTANT)}").view(np.uint8)
    written = written.reshape(-1, len(_INSTANT)).copy()
    written[:, _INSTANT.index(b" ")] = ord(" ")
    text[_line_starts(text)[:, None] + np.arange(len(_INSTANT))] = written
    return text.tobytes()


def numbers(rows: bytes, columns: int, *at: int) -> list[npt.NDArray[np.float64]]:
    """The values of the columns `at` (from 0) of `columns`, NaN where a field is blank; all rows at once.

    Raises:
        StructurallyBad: a row does not have `columns` columns, or a value is no number.
    """
    text, ends = np.frombuffer(rows, np.uint8), _field_ends(rows, columns)
    return [_values(text, ends, column) for column in at]


def _values(text: npt.NDArray[np.uint8], ends: npt.NDArray[np.intp], at: int) -> npt.NDArray[np.float64]:
    starts = ends[:, at - 1] + 1 if at else np.append(0, ends[:-1, -1] + 1)
    widths = ends[:, at] - starts
    within = np.arange(max(int(widths.max()), 1))
    characters = text[np.minimum(starts[:, None] + within, len(text) - 1)]
    characters[within >= widths[:, None]] = 0
    fields = characters.view(f"S{len(within)}").ravel()
    try:
        return np.where(fields == b"", b"nan", fields).astype(np.float64)
    except ValueError as error:
        raise StructurallyBad(
            f"column {at + 1} holds more than numbers ({error}).", hint="Look at the file."
        ) from error


def _field_ends(rows: bytes, columns: int) -> npt.NDArray[np.intp]:
    """Where each field of each row ends."""
    _check_columns(rows, columns)
    text = np.frombuffer(rows, np.uint8)
    is_newline = text == NEWLINE
    ends = np.append(np.flatnonzero((text == COMMA) | is_newline), len(text)).reshape(-1, columns)
    # As many commas as there should be may still lie in the wrong lines.
    if not is_newline[ends[:-1, -1]].all():
        raise StructurallyBad(f"some of {len(ends)} rows do not have {columns} columns.", hint="Look at the file.")
    return ends
