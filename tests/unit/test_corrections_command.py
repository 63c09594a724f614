"""The table of corrections: values stand in it whole, however long they are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from perpflow.corrections_command import TABLE_WIDTH, table

SYMBOL, FILE = "1000000BABYDOGE/USDT#SETTLED", "1000000BABYDOGEUSDTSETTLED-metrics-2026-10-03.zip"


def correction(dataset: str, series: str, column: str, old: float, new: float) -> dict[str, Any]:
    return {
        "corrected_at": datetime(2026, 10, 15, 12, 34, tzinfo=UTC),
        "dataset": dataset,
        "symbol": SYMBOL,
        "series": series,
        "time": datetime(2026, 10, 3, 6, tzinfo=UTC),
        "old_row": {column: old},
        "new_row": {column: new},
        "origin": f"data/futures/um/daily/metrics/1000000BABYDOGEUSDTSETTLED/{FILE}",
    }


@pytest.mark.parametrize(
    "row",
    [
        correction("ohlcv", "15m", "taker_buy_quote_volume", 1235629321.123456, 1247985614.987765),
        correction("long_short_ratio", "global_account", "global_account", 1.23456789, 12.34567898),
        correction("open_interest", "5m", "open_interest_value", 12356293210.1234, 12479856140.9877),
    ],
)
def test_no_number_and_no_name_is_cut_off(row: dict[str, Any]) -> None:
    console = Console(width=TABLE_WIDTH)
    with console.capture() as captured:
        console.print(table([row]))
    text = captured.get()
    assert "…" not in text
    (column, old), (_, new) = (*row["old_row"].items(), *row["new_row"].items())
    assert all(whole in text for whole in (SYMBOL, column, f"{old}", f"{new}"))
    assert "".join(words[-1] for line in text.splitlines()[4:] if (words := line.split())) == FILE
