"""Wire rows to CSV for COPY. Pure: no clock, no I/O.

Archive members go into COPY as the bytes they are, with the batch's columns put in front of every line: no Python
object per row. REST answers are small (at most 1500 rows) and are rendered to the same CSV. Nothing is converted here:
times stay the wire's milliseconds or text, and the staging tables derive what the fact tables need.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from perpflow.datasets import RestSource
from perpflow.errors import StructurallyBad

#: What would end a CSV field or line. No number or time of the exchange holds one of them.
_CSV_SPECIAL = frozenset(',"\r\n')
_DIGITS = b"0123456789"
NEWLINE, COMMA = b"\n,"
#: A month of 1m candles with its prefixes is 9 MB, and several are under way: a copy of them is made a piece at a time.
PIECE_BYTES = 256 * 1024


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
