"""Where the settlements of a delisted contract end, by the last ones that its archive has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from perpflow.datasets import FUNDING_RATE
from perpflow.exchange.archive import ArchiveObject, FetchedObject
from perpflow.issue import Issue
from perpflow.parsing import labels
from perpflow.symbols import after_last_settlement
from perpflow.windows import month_of, to_ms

DAY = datetime(2026, 6, 30, tzinfo=UTC)


def ended(rows: list[tuple[float, int]], ends: float) -> float | None:
    """In hours of the day: the end after settlements (hour, interval) of a contract that ends at an hour."""
    times = [(to_ms(DAY + timedelta(hours=hour)), interval) for hour, interval in rows]
    content = "".join(f"{time},{interval},0.0001\n" for time, interval in times).encode()
    wanted = ArchiveObject("fundingRate", "monthly", "FTMUSDT", None, month_of(DAY))
    month = FetchedObject(wanted, content, Issue(""), *labels(content)) if rows else None
    return (after_last_settlement(month, FUNDING_RATE, DAY + timedelta(hours=ends)) - DAY) / timedelta(hours=1)


@pytest.mark.parametrize(
    ("rows", "ends", "end", "why"),
    [
        ([(0, 8), (8, 8)], 9, 9, "the next one would have come after the end"),
        ([(0, 8), (8, 8)], 12, 9, "none falls into the hours before the end"),
        ([(0, 8), (8, 8), (9, 8)], 9, 10, "one may fall on the very end"),
        ([(0, 8), (8.000004, 8)], 8, 9, "the exchange's instants jitter"),
        ([(0, 8), (8, 8), (16, 8)], 9, 9, "rows after the end are nobody's"),
        ([(0, 4), (4, 4)], 9, 9, "one at 8 may have been lost: the gap stays"),
        ([(16, 8)], 9, 9, "nothing is known"),
        ([], 9, 9, "there is no file"),
    ],
)
def test_settlements_end_where_none_can_follow(
    rows: list[tuple[float, int]], ends: float, end: float, why: str
) -> None:
    assert ended(rows, ends) == end, why
