"""Wire rows become exactly the CSV lines that staging copies, or nothing at all."""

from __future__ import annotations

import csv
import io
import math
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perpflow.datasets import FUNDING_RATE, LONG_SHORT_RATIO, OHLCV
from perpflow.errors import StructurallyBad
from perpflow.parsing import (
    PIECE_BYTES,
    copy_prefix,
    instants,
    labels,
    numbers,
    prefixed,
    relabelled,
    render_rows,
    rows_of,
)
from perpflow.windows import from_ms

KLINES = OHLCV.rest[0]
FUNDING = FUNDING_RATE.rest[0]
TAKER = LONG_SHORT_RATIO.rest_for("taker_volume")

field = st.text("0123456789.-", max_size=8)
table = st.integers(1, 6).flatmap(
    lambda width: st.lists(st.lists(field, min_size=width, max_size=width).filter(any), min_size=1, max_size=20)
)


def as_csv(rows: list[list[str]], newline: str = "\n", final: bool = True) -> bytes:
    text = newline.join(",".join(row) for row in rows)
    return (text + (newline if final else "")).encode()


def parsed(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode(), newline="")))


class TestRowsOf:
    def test_a_header_line_is_cut_off(self) -> None:
        assert rows_of(b"open_time,open\n1,2\n") == b"1,2"

    def test_a_member_without_a_header_keeps_its_first_line(self) -> None:
        assert rows_of(b"1,2\n3,4\n") == b"1,2\n3,4"

    @pytest.mark.parametrize("content", [b"", b"create_time,symbol", b"create_time,symbol\r\n"])
    def test_a_member_without_rows_has_none(self, content: bytes) -> None:
        assert rows_of(content) == b""

    @given(table, st.sampled_from(["\n", "\r\n"]), st.booleans(), st.booleans())
    def test_rows_are_the_same_however_lines_end(
        self, rows: list[list[str]], newline: str, final: bool, header: bool
    ) -> None:
        numbered = [[str(number), *row] for number, row in enumerate(rows)]
        member = as_csv([["open_time", "open"]] * header + numbered, newline, final)
        assert rows_of(member) == as_csv(numbered, final=False)


class TestPrefixed:
    @given(table)
    def test_every_line_gets_the_prefix(self, rows: list[list[str]]) -> None:
        expected = "".join(f"a,b,{','.join(row)}\n" for row in rows).encode()
        assert b"".join(prefixed(as_csv(rows, final=False), b"a,b,", len(rows[0]))) == expected

    def test_pieces_are_whole_lines_and_none_is_much_larger_than_the_others(self) -> None:
        rows = b"\n".join(b"%d,%d" % (n, n * n) for n in range(100_000))
        pieces = list(prefixed(rows, b"a,", 2))
        assert b"".join(pieces).count(b"\na,") == 100_000 - 1
        assert {piece[:2] + piece[-1:] for piece in pieces} == {b"a,\n"}
        assert len(pieces) == -(-len(rows) // PIECE_BYTES)

    def test_no_rows_stay_no_rows(self) -> None:
        assert list(prefixed(b"", b"a,", 3)) == []

    def test_another_number_of_columns_is_refused_with_the_row(self) -> None:
        with pytest.raises(StructurallyBad, match=r"expected 3 columns, found 2 in the first row b'1,2'"):
            prefixed(b"1,2", b"a,", 3)

    @pytest.mark.parametrize("content", [b"1,2\n3", b"1,2\n\n3,4", b"1,2\n3,4,5"])
    def test_a_later_row_of_another_width_is_refused(self, content: bytes) -> None:
        with pytest.raises(StructurallyBad, match=r"some of \d rows do not have 2 columns"):
            prefixed(content, b"a,", 2)


class TestCopyPrefix:
    def test_it_holds_the_first_five_columns_and_a_comma(self) -> None:
        assert copy_prefix(17, 3, "archive", "SOL/USDT", "5m") == b"17,3,archive,SOL/USDT,5m,"

    @given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
    def test_any_symbol_survives_a_csv_reader(self, symbol: str) -> None:
        line = copy_prefix(17, 1, "rest", symbol, "5m") + b"1\n"
        assert parsed(line) == [["17", "1", "rest", symbol, "5m", "1"]]


class TestRenderRows:
    def test_a_candle_keeps_the_fields_that_are_copied(self) -> None:
        row = [1786816800000, "1.0", "2", "0.5", "1.5", "10", 1786820399999, "15.0", 7, "4", "6.0", "0"]
        assert render_rows([row], KLINES) == b"1786816800000,1.0,2,0.5,1.5,10,1786820399999,15.0,7,4,6.0"

    def test_an_empty_string_or_null_becomes_null_and_unknown_fields_are_ignored(self) -> None:
        row = {"symbol": "BTCUSDT", "fundingTime": 1568102400000, "fundingRate": "0.0001", "markPrice": "", "x": [1]}
        assert (
            render_rows([row, {**row, "markPrice": None}], FUNDING) == b"1568102400000,0.0001,\n1568102400000,0.0001,"
        )

    def test_times_may_be_text(self) -> None:
        row = {"buySellRatio": "0.9", "sellVol": "1", "buyVol": "2", "timestamp": "1791283500000"}
        assert render_rows([row], TAKER) == b"1791283500000,0.9,2,1"

    @pytest.mark.parametrize("key", ["fundingTime", "fundingRate", "markPrice"])
    def test_a_missing_field_is_named(self, key: str) -> None:
        row = {"fundingTime": 1, "fundingRate": "0", "markPrice": "1"}
        del row[key]
        with pytest.raises(StructurallyBad, match=f"/fapi/v1/fundingRate: a row has no field '{key}'"):
            render_rows([row], FUNDING)

    @pytest.mark.parametrize("row", [[1, "2"], "text", None, 5, {}])
    def test_what_is_no_candle_is_refused(self, row: object) -> None:
        with pytest.raises(StructurallyBad, match=r"a row has no field \d"):
            render_rows([row], KLINES)

    @pytest.mark.parametrize("value", ['0"', "1,5", "1\n2", "1\r", True, [1], {"a": 1}])
    def test_what_would_break_the_csv_is_refused(self, value: object) -> None:
        with pytest.raises(StructurallyBad, match="field 'markPrice' is "):
            render_rows([{"fundingTime": 1, "fundingRate": "0", "markPrice": value}], FUNDING)

    @given(st.lists(st.lists(field, min_size=12, max_size=12)))
    def test_reading_the_csv_gives_the_values_back(self, rows: list[list[str]]) -> None:
        assert parsed(render_rows(rows, KLINES)) == [row[:11] for row in rows]

    @given(st.lists(st.tuples(st.integers(), field, field), min_size=1))
    def test_what_is_rendered_can_be_prefixed(self, values: list[tuple[int, str, str]]) -> None:
        rows = [dict(zip(("fundingTime", "fundingRate", "markPrice"), row, strict=True)) for row in values]
        content = b"".join(prefixed(render_rows(rows, FUNDING), b"p,", 3))
        assert parsed(content) == [["p", str(time), rate, mark] for time, rate, mark in values]


class TestLabels:
    @given(table)
    def test_they_are_the_first_columns_of_the_first_and_last_row(self, rows: list[list[str]]) -> None:
        assert labels(as_csv(rows, final=False)) == (rows[0][0], rows[-1][0], len(rows))

    def test_no_rows_have_no_labels(self) -> None:
        assert labels(b"") == ("", "", 0)


#: As labels write it: without a zone.
instant = st.integers(1_550_000_000, 1_900_000_000).map(lambda second: from_ms(second * 1000).replace(tzinfo=None))


class TestInstants:
    @given(st.lists(instant, min_size=1, max_size=300))
    def test_they_are_read_to_the_second_and_put_back_as_they_were(self, moments: list[datetime]) -> None:
        rows = as_csv([[f"{at}", "SOLUSDT", "1.5"] for at in moments], final=False)
        read = instants(rows)
        assert read.tolist() == moments
        assert relabelled(rows, read) == rows

    @given(st.lists(st.tuples(instant, field, field), min_size=1, max_size=50), st.integers(-86_400, 86_400))
    def test_other_labels_leave_the_rest_of_a_row_as_it_is(
        self, table: list[tuple[datetime, str, str]], seconds: int
    ) -> None:
        by = timedelta(seconds=seconds)
        rows, moved = (as_csv([[f"{at + d}", a, b] for at, a, b in table], final=False) for d in (timedelta(0), by))
        assert relabelled(rows, instants(rows) + np.timedelta64(by)) == moved

    @pytest.mark.parametrize("count", [1, 2])
    def test_the_generation_with_one_row_a_day_is_refused_for_what_it_is(self, count: int) -> None:
        rows = b"\n".join([b"2022-06-01,BTCUSDT,1,2,3,4,5,6"] * count)
        with pytest.raises(StructurallyBad, match=r"one row a day \(label 2022-06-01\): the daily generation"):
            instants(rows)

    @pytest.mark.parametrize(
        "label",
        [
            "2022-06-01T00:00:00",
            "2022-06-01 00:00",
            "2022-06-01 00:00:00.000",
            "2022-06-01 0:00:00",
            "01/06/2022 00:00:00",
            "1654041600000",
            "2022-13-01 00:00:00",
            "2022-06-01 24:00:00",
            "2022-06-01",
            "0",
            "",
        ],
    )
    @pytest.mark.parametrize("place", [0, 1])
    def test_labels_that_are_no_instants_are_refused(self, label: str, place: int) -> None:
        rows = ["2022-06-01 00:00:00,1", "2022-06-01 00:05:00,1"]
        rows[place] = f"{label},1"
        with pytest.raises(StructurallyBad, match="its labels, from '.*' to '.*', are not all "):
            instants("\n".join(rows).encode())


class TestNumbers:
    @given(
        st.integers(1, 5).flatmap(
            lambda width: st.tuples(
                st.lists(
                    st.lists(st.floats(allow_nan=False) | st.none(), min_size=width, max_size=width).filter(
                        lambda row: len(row) > 1 or row[0] is not None
                    ),
                    min_size=1,
                ),
                st.integers(0, width - 1),
            )
        )
    )
    def test_a_column_is_read_whole_and_a_blank_is_no_number(self, drawn: tuple[list[list[float | None]], int]) -> None:
        rows, at = drawn
        content = as_csv([["" if value is None else repr(value) for value in row] for row in rows], final=False)
        wanted = [math.nan if row[at] is None else row[at] for row in rows]
        (found,) = numbers(content, len(rows[0]), at)
        np.testing.assert_array_equal(found, np.array(wanted, float))

    @pytest.mark.parametrize("content", [b"1,2,3\n4", b"1\n2,3,4", b"1,2\n3", b"1,2\n\n3,4"])
    def test_rows_of_other_widths_are_refused(self, content: bytes) -> None:
        with pytest.raises(StructurallyBad, match=r"(some of \d rows do not have|expected) 2 columns"):
            numbers(content, 2, 0)

    def test_what_is_no_number_is_refused_by_its_column(self) -> None:
        with pytest.raises(StructurallyBad, match=r"column 2 holds more than numbers \(could not convert"):
            numbers(b"1,2\n3,x", 2, 1)
