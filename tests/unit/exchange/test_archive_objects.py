"""Which archive objects hold a window, what they are called, and what is read out of a zip and a listing."""

from __future__ import annotations

import io
import zipfile
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perpflow.datasets import FUNDING_RATE, OHLCV, OPEN_INTEREST
from perpflow.errors import ObjectDamaged, StructurallyBad
from perpflow.exchange import archive as archive_module
from perpflow.exchange.archive import ArchiveObject, Listed, object_of, objects_for, parse_listing, period_of, unzip
from perpflow.specs import Granularity
from perpflow.windows import DAY, Window, days, merge, month_of, months, subtract

NOW = datetime(2026, 6, 3, 10, tzinfo=UTC)
APRIL = month_of(datetime(2026, 4, 1, tzinfo=UTC))
DAY_ONE = Window(datetime(2026, 4, 18, tzinfo=UTC), datetime(2026, 4, 19, tzinfo=UTC))

instants = st.datetimes(datetime(2025, 1, 1), datetime(2026, 8, 1), timezones=st.just(UTC))  # noqa: DTZ001
windows = st.lists(st.tuples(instants, instants).map(lambda pair: Window(min(pair), max(pair))), max_size=4)


class TestKeys:
    @pytest.mark.parametrize(
        ("wanted", "key"),
        [
            (
                ArchiveObject("klines", "monthly", "SOLUSDT", "5m", APRIL),
                "data/futures/um/monthly/klines/SOLUSDT/5m/SOLUSDT-5m-2026-04.zip",
            ),
            (
                ArchiveObject("klines", "monthly", "SOLUSDT", "1M", APRIL),
                "data/futures/um/monthly/klines/SOLUSDT/1mo/SOLUSDT-1mo-2026-04.zip",
            ),
            (
                ArchiveObject("klines", "daily", "币安人生USDT", "1h", DAY_ONE),
                "data/futures/um/daily/klines/币安人生USDT/1h/币安人生USDT-1h-2026-04-18.zip",
            ),
            (
                ArchiveObject("metrics", "daily", "ICPUSDTSETTLED", None, DAY_ONE),
                "data/futures/um/daily/metrics/ICPUSDTSETTLED/ICPUSDTSETTLED-metrics-2026-04-18.zip",
            ),
            (
                ArchiveObject("fundingRate", "monthly", "SOLUSDT", None, APRIL),
                "data/futures/um/monthly/fundingRate/SOLUSDT/SOLUSDT-fundingRate-2026-04.zip",
            ),
        ],
    )
    def test_they_are_spelled_as_the_archive_spells_them(self, wanted: ArchiveObject, key: str) -> None:
        assert wanted.key == key
        assert period_of(key) == wanted.period
        assert object_of(key) == wanted
        assert object_of(f"{key}.CHECKSUM") is None

    @pytest.mark.parametrize("key", ["a/SOLUSDT-5m-2026-04.zip.CHECKSUM", "a/index.html", "a/SOLUSDT-5m-26-04.zip", ""])
    def test_other_keys_name_no_period(self, key: str) -> None:
        assert period_of(key) is None
        assert object_of(key) is None


class TestObjectsFor:
    def test_months_that_are_not_over_are_left_out(self) -> None:
        asked = [Window(datetime(2026, 4, 30, 23, tzinfo=UTC), NOW)]
        found = objects_for(OHLCV.archive, "monthly", "SOLUSDT", "5m", asked, NOW)
        assert [f"{wanted.period.start:%Y-%m}" for wanted in found] == ["2026-04", "2026-05"]

    def test_days_touch_the_windows_and_come_once(self) -> None:
        noon = datetime(2026, 6, 1, 12, tzinfo=UTC)
        asked = [Window(noon, noon + DAY), Window(noon + timedelta(hours=30), NOW), Window(noon, noon + DAY)]
        found = objects_for(OPEN_INTEREST.archive, "daily", "SOLUSDT", "5m", asked, NOW)
        assert [wanted.period.start.day for wanted in found] == [1, 2]

    def test_the_interval_counts_only_where_the_archive_is_divided_by_it(self) -> None:
        assert objects_for(OHLCV.archive, "monthly", "SOLUSDT", "1h", [APRIL], NOW)[0].interval == "1h"
        assert objects_for(FUNDING_RATE.archive, "monthly", "SOLUSDT", "settlement", [APRIL], NOW)[0].interval is None

    @given(windows, st.sampled_from(["monthly", "daily"]), instants)
    def test_they_cover_what_is_over_and_nothing_else(
        self, asked: list[Window], granularity: Granularity, published_before: datetime
    ) -> None:
        found = [w.period for w in objects_for(OHLCV.archive, granularity, "X", "5m", asked, published_before)]
        assert found == sorted(set(found))
        assert all(period.end <= published_before for period in found)
        assert all(any(period.intersect(window) for window in asked) for period in found)
        periods_of = months if granularity == "monthly" else days
        for hole in subtract(merge(asked), found):
            assert all(period.end > published_before for period in periods_of(hole))


METHODS = (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


def zip_of(method: int = zipfile.ZIP_DEFLATED, /, **members: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_", "."), content)
    return packed.getvalue()


#: Where two-byte fields of a member stand in its local header; in the central directory they stand two bytes later.
VERSION, FLAGS, METHOD = 4, 6, 8


def patched(zipped: bytes, field: int, value: int) -> bytes:
    """The zip of one member with a field of its headers changed."""
    changed = bytearray(zipped)
    for place in (field, zipped.index(b"PK\x01\x02") + field + 2):
        changed[place : place + 2] = value.to_bytes(2, "little")
    return bytes(changed)


WANTED = ArchiveObject("metrics", "daily", "SOLUSDT", None, DAY_ONE)


class TestUnzip:
    def test_the_only_member_is_read(self) -> None:
        assert unzip(WANTED, zip_of(a_csv=b"1,2\n")) == b"1,2\n"

    @pytest.mark.parametrize("members", [{}, {"a_csv": b"1", "b_csv": b"2"}, {"a_txt": b"1"}])
    def test_anything_else_than_one_csv_is_refused(self, members: dict[str, bytes]) -> None:
        with pytest.raises(StructurallyBad, match=r"SOLUSDT \[2026-04-18.*-metrics-2026-04-18.zip holds"):
            unzip(WANTED, zip_of(**members))

    def test_a_bomb_is_not_unpacked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(archive_module, "MOST_CSV_BYTES", 1000)
        with pytest.raises(StructurallyBad, match=r"a.csv \(1001 bytes\) instead of one CSV of at most 1000 bytes"):
            unzip(WANTED, zip_of(a_csv=b"0" * 1001))

    @given(st.data())
    def test_a_zip_that_is_cut_short_is_damaged(self, data: st.DataObject) -> None:
        whole = zip_of(a_csv=b"1,2\n" * 50)
        cut = data.draw(st.integers(0, len(whole) - 1))
        with pytest.raises(ObjectDamaged, match="is no sound zip"):
            unzip(WANTED, whole[:cut])

    @pytest.mark.parametrize(
        ("field", "value", "said"),
        [(FLAGS, 1, "is encrypted"), (METHOD, 9, "compression method is not supported"), (VERSION, 99, "version 9.9")],
    )
    def test_a_zip_of_a_kind_that_cannot_be_read_is_refused(self, field: int, value: int, said: str) -> None:
        with pytest.raises(StructurallyBad, match=rf"SOLUSDT \[2026-04-18.*04-18.zip can't be read.*{said}"):
            unzip(WANTED, patched(zip_of(a_csv=b"1,2\n"), field, value))

    @given(st.sampled_from(METHODS), st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), max_size=4))
    def test_whatever_happens_to_its_bytes_the_error_is_one_of_ours(
        self, method: int, changes: list[tuple[int, int]]
    ) -> None:
        whole = bytearray(zip_of(method, a_csv=b"1,2\n" * 50))
        for place, byte in changes:
            whole[place % len(whole)] = byte
        with suppress(ObjectDamaged, StructurallyBad):
            assert unzip(WANTED, bytes(whole)) == b"1,2\n" * 50


def listing(*keys: str, truncated: bool = False, marker: str = "", space: bool = True) -> bytes:
    attribute = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"' if space else ""
    contents = "".join(f"<Contents><Key>{key}</Key></Contents>" for key in keys)
    following = f"<NextMarker>{marker}</NextMarker>" if marker else ""
    flag = f"<IsTruncated>{str(truncated).lower()}</IsTruncated>"
    return f"<ListBucketResult{attribute}>{flag}{following}{contents}</ListBucketResult>".encode()


class TestListing:
    @pytest.mark.parametrize("space", [True, False])
    def test_the_last_page_has_no_marker(self, space: bool) -> None:
        assert parse_listing(listing("a", "b&amp;c", space=space)) == ([Listed("a"), Listed("b&c")], None)

    def test_the_last_key_is_the_marker_unless_one_is_given(self) -> None:
        assert parse_listing(listing("a", "b", truncated=True)) == ([Listed("a"), Listed("b")], "b")
        assert parse_listing(listing("a", "b", truncated=True, marker="m")) == ([Listed("a"), Listed("b")], "m")

    def test_folders_are_listed_beside_keys(self) -> None:
        page = listing("a/index.html").replace(
            b"</ListBucketResult>", b"<CommonPrefixes><Prefix>a/b/</Prefix></CommonPrefixes></ListBucketResult>"
        )
        assert parse_listing(page) == ([Listed("a/index.html"), Listed("a/b/")], None)

    def test_an_object_is_listed_with_what_tells_its_issue(self) -> None:
        (found,), _ = parse_listing(
            listing("a").replace(
                b"</Contents>",
                b"<LastModified>2026-04-02T08:40:00.000Z</LastModified><ETag>&quot;abc&quot;</ETag><Size>90</Size></Contents>",
            )
        )
        assert found == Listed("a", "abc", datetime(2026, 4, 2, 8, 40, tzinfo=UTC), 90)

    def test_an_empty_listing_ends(self) -> None:
        assert parse_listing(listing(truncated=True)) == ([], None)

    def test_what_is_no_xml_is_said(self) -> None:
        with pytest.raises(ElementTree.ParseError):
            parse_listing(b"<html><br>")
