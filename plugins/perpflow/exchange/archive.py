"""The exchange's bulk archive: zipped CSV files by month and by day, each with its SHA-256 beside it.

Source: `https://data.binance.vision/data/futures/um/...` and its S3 listing. Daily objects appear the next morning,
monthly ones in the first days of the next month; published objects get re-issued, so a key is no identity: the hash,
the ETag and Last-Modified are handed on with the bytes. Times inside are milliseconds or text, UTC.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache, partial
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit
from xml.etree import ElementTree  # noqa: S405  expat bounds entity expansion since 2.4.1

import httpx

from perpflow.errors import ChecksumWrong, ExchangeUnavailable, ObjectDamaged, RequestRejected, StructurallyBad
from perpflow.exchange.answering import accepted
from perpflow.exchange.causes import unreached
from perpflow.exchange.certificates import ssl_context
from perpflow.exchange.limiter import Limiter
from perpflow.exchange.refusals import Asked
from perpflow.exchange.retry_policy import Retry
from perpflow.issue import Issue
from perpflow.parsing import labels, rows_of
from perpflow.specs import ArchiveSource, Granularity
from perpflow.windows import DAY, LATEST_MS, Window, days, merge, month_of, months

BASE_URL = "https://data.binance.vision"
# The same bucket; its web front does not list.
LISTING_URL = "https://s3-ap-northeast-1.amazonaws.com/data.binance.vision"
# A month of 1m candles is 6 MB of CSV; forty times that is no candle file any more.
MOST_CSV_BYTES = 256 * 1024 * 1024
LISTING_PAGE = 1000
#: Zips do not shrink, and their checksums are those of the bytes.
AS_IT_IS = {"Accept-Encoding": "identity"}
_S3 = "{http://s3.amazonaws.com/doc/2006-03-01/}"
_PERIOD = re.compile(r"-(\d{4}-\d{2}(?:-\d{2})?)\.zip$")
_CHECKSUM = re.compile(r"\A([0-9a-f]{64})\s", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class ArchiveObject:
    """One zip of the archive: `period` is its UTC month or day."""

    kind: str
    granularity: Granularity
    exchange_symbol: str
    interval: str | None
    period: Window

    @property
    def key(self) -> str:
        """Its path below the archive's root; the month's interval `1M` is spelled `1mo` there."""
        label = spelled(self.interval) or self.kind
        day = f"{self.period.start:%Y-%m}" if self.granularity == "monthly" else f"{self.period.start:%Y-%m-%d}"
        folder = folder_of(self.kind, self.granularity, self.exchange_symbol, self.interval)
        return f"{folder}{self.exchange_symbol}-{label}-{day}.zip"


@dataclass(frozen=True, slots=True)
class FetchedObject:
    """What an object held: the member's rows (see `parsing.rows_of`), and which issue of it these bytes are.

    `first_label` and `last_label` are the first column of the first and last row. `is_verified`: it fits its checksum.
    """

    object: ArchiveObject
    csv: bytes
    issue: Issue
    first_label: str
    last_label: str
    rows: int
    is_verified: bool = True


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry of the listing: an object's key, ETag (without quotes) and bytes, or a folder, which has neither."""

    key: str
    etag: str | None = None
    last_modified: datetime | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A zip as it came, and whether it fits the checksum beside it: what is wrong with that, or None."""

    content: bytes
    issue: Issue
    fault: str | None


def spelled(interval: str | None) -> str | None:
    """The interval as folders and files name it: the month is `1mo` there."""
    return "1mo" if interval == "1M" else interval


def folder_of(kind: str, granularity: Granularity, exchange_symbol: str, interval: str | None) -> str:
    """The folder of a symbol's objects, ending in a slash."""
    folder = f"data/futures/um/{granularity}/{kind}/{exchange_symbol}/"
    return f"{folder}{spelled(interval)}/" if interval else folder


def object_of(key: str) -> ArchiveObject | None:
    """The object that a key names; None for a key of another kind, a checksum's too."""
    parts, period = key.removeprefix("data/futures/um/").split("/"), period_of(key)
    if period is None or len(parts) not in (4, 5) or parts[0] not in ("monthly", "daily"):
        return None
    granularity: Granularity = "monthly" if parts[0] == "monthly" else "daily"
    folder = parts[3] if len(parts) == 5 else None
    found = ArchiveObject(parts[1], granularity, parts[2], "1M" if folder == "1mo" else folder, period)
    return found if found.key == key else None


def objects_for(
    source: ArchiveSource,
    granularity: Granularity,
    exchange_symbol: str,
    interval: str | None,
    windows: Iterable[Window],
    published_before: datetime,
) -> list[ArchiveObject]:
    """The objects whose period touches the windows and is over by `published_before`; ascending, each once.

    Whether they exist only fetching tells. `interval` counts for sources that are divided by interval only.
    """
    periods_of = months if granularity == "monthly" else days
    periods = {period for window in merge(windows) for period in periods_of(window) if period.end <= published_before}
    within = interval if source.by_interval else None
    return [ArchiveObject(source.kind, granularity, exchange_symbol, within, period) for period in sorted(periods)]


class Archive:
    """A session with the archive: `async with Archive() as archive`.

    Args:
        base_url: serves `data/futures/um/...`.
        concurrency: requests under way, and connections, at most; further ones wait.
        connect_timeout_s: until a connection stands.
        read_timeout_s: between two pieces of a body.
        proxy: URL of an HTTP proxy; None leaves it to the environment.
        listing_url: serves the S3 listing; by default Amazon's for the exchange's own archive, `base_url` for another.
        limiter_for: makes what lets every request to a host through, or not yet, or not at all; objects and listing
            have a host each.
        retry: how what failed transiently is tried again.
    """

    def __init__(
        self,
        base_url: str = BASE_URL,
        *,
        concurrency: int = 8,
        connect_timeout_s: float = 10.0,
        read_timeout_s: float = 60.0,
        proxy: str | None = None,
        listing_url: str | None = None,
        limiter_for: Callable[[str], Limiter] = Limiter,
        retry: Retry | None = None,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._proxy = proxy
        self._limiter_for = cache(limiter_for)
        own = LISTING_URL if self._base_url == BASE_URL else f"{self._base_url}/"
        self._listing_url = listing_url or own
        self._retry = retry or Retry()
        # Before the limiter: what it lets go must be sent at once, and not wait for a connection through a ban.
        self._slots = asyncio.Semaphore(concurrency)
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(read_timeout_s, connect=connect_timeout_s, pool=None),
            limits=httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
            proxy=proxy,
            verify=ssl_context(),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close its connections."""
        await self._client.aclose()

    @property
    def hosts(self) -> tuple[str, ...]:
        """Whom it asks: the host of the objects, and the listing's where that is another."""
        return tuple(dict.fromkeys(urlsplit(url).netloc for url in (self._base_url, self._listing_url)))

    async def fetch(self, wanted: ArchiveObject, *, verify: bool = True) -> FetchedObject | None:
        """The object, verified against its checksum; None where the archive does not have it.

        Without `verify` one that does not fit its checksum is read all the same, and says so.

        Raises:
            ChecksumWrong: bytes and checksum do not fit, also when both were fetched again (an object that is being
                re-issued is inconsistent for a moment).
            ObjectDamaged: the zip is cut short, or none.
            StructurallyBad: the zip can't be read, or does not hold exactly one CSV of a plausible size, or no text.
            AccessDenied: the archive does not serve this address.
            ExchangeUnavailable, RateLimited: it does not answer.
        """
        return await self._retry(partial(self._fetch_once, wanted, verify))

    async def _fetch_once(self, wanted: ArchiveObject, verify: bool) -> FetchedObject | None:
        downloaded = await self._download(wanted)
        if downloaded is None:
            return None
        try:
            if downloaded.fault and verify:
                raise ChecksumWrong(downloaded.fault, **_where(wanted))
            csv = rows_of(unzip(wanted, downloaded.content))
            labelled = _labels(wanted, csv)
        except (ObjectDamaged, StructurallyBad) as error:
            error.issue = downloaded.issue
            raise
        return FetchedObject(wanted, csv, downloaded.issue, *labelled, is_verified=downloaded.fault is None)

    async def _download(self, wanted: ArchiveObject) -> Downloaded | None:
        asked = Asked(wanted.exchange_symbol, wanted.period)
        url = f"{self._base_url}/{wanted.key}"
        zipped = await self._get(url, asked)
        if zipped is None:
            return None
        checksum = await self._get(f"{url}.CHECKSUM", asked)
        issue = Issue(
            sha256=hashlib.sha256(zipped.content).hexdigest(),
            etag=_unquoted(zipped.headers.get("etag")),
            last_modified=_last_modified(zipped.headers.get("last-modified")),
            checksum_etag=_unquoted(checksum.headers.get("etag")) if checksum else None,
        )
        return Downloaded(zipped.content, issue, _fault(wanted, issue.sha256, checksum.text if checksum else None))

    async def listed(self, prefix: str, *, after: str | None = None, until: str | None = None) -> list[Listed]:
        """The objects whose keys begin with `prefix`, follow `after` and do not follow `until`, ascending.

        `.CHECKSUM` files included; a thousand to a request.

        Raises: as `keys`.
        """
        return await self._list({"prefix": prefix}, after, None, until)

    async def keys(self, prefix: str, *, after: str | None = None, limit: int | None = None) -> list[str]:
        """Keys that begin with `prefix` and follow `after`, ascending, at most `limit`; `.CHECKSUM` files included.

        Raises:
            ExchangeUnavailable, RateLimited, AccessDenied, RequestRejected: the listing does not answer.
        """
        return [entry.key for entry in await self._list({"prefix": prefix}, after, limit)]

    async def symbols(self, kind: str, granularity: Granularity) -> list[str]:
        """Every symbol that has a folder of that kind, the exchange's names, ascending; delisted ones stay there.

        Raises: as `keys`.
        """
        prefix = f"data/futures/um/{granularity}/{kind}/"
        entries = await self._list({"prefix": prefix, "delimiter": "/"}, None, None)
        return [e.key.removeprefix(prefix).removesuffix("/") for e in entries if e.key.endswith("/")]

    async def _list(
        self, asked: dict[str, str], after: str | None, limit: int | None, until: str | None = None
    ) -> list[Listed]:
        found: list[Listed] = []
        marker = after
        while limit is None or len(found) < limit:
            most = LISTING_PAGE if limit is None else min(LISTING_PAGE, limit - len(found))
            page, following = await self._retry(partial(self._list_once, asked, marker, most))
            found += [entry for entry in page if until is None or entry.key <= until]
            if following is None or (until is not None and following > until):
                break
            if marker is not None and following <= marker:
                raise _no_listing(self._listing_url, f"what follows {marker!r} goes on at {following!r}")
            marker = following
        return found[:limit]

    async def _list_once(self, asked: dict[str, str], marker: str | None, most: int) -> tuple[list[Listed], str | None]:
        params = asked | {"max-keys": str(most)} | ({"marker": marker} if marker else {})
        response = await self._get(self._listing_url, Asked(), params)
        if response is None:
            raise RequestRejected(f"{self._listing_url} is not there.", hint="Check the archive's URL.")
        try:
            return parse_listing(response.content)
        except (ElementTree.ParseError, ValueError) as error:
            raise _no_listing(str(response.url), repr(response.text[:120])) from error

    async def first_objects(
        self, source: ArchiveSource, exchange_symbol: str, interval: str | None
    ) -> list[ArchiveObject]:
        """The earliest objects that are listed for the symbol, monthly and daily, a few of each; ascending.

        Raises: as `keys`.
        """
        within = interval if source.by_interval else None
        earliest: list[ArchiveObject] = []
        for granularity in source.granularities:
            # Periods sort as text. Zip and checksum both count; a stray key or two does not hide the first ones.
            keys = await self.keys(folder_of(source.kind, granularity, exchange_symbol, within), limit=10)
            earliest += _objects(source, granularity, exchange_symbol, within, keys)
        return sorted(earliest, key=lambda found: found.period.start)

    async def last_objects(
        self, source: ArchiveSource, exchange_symbol: str, interval: str | None
    ) -> list[ArchiveObject]:
        """The latest objects that are listed for the symbol, latest first: days from its last month on, then months.

        Raises: as `keys`.
        """
        within = interval if source.by_interval else None
        latest: list[ArchiveObject] = []
        for granularity in source.granularities:
            folder = folder_of(source.kind, granularity, exchange_symbol, within)
            # A listing only goes forward: the days before the last month, years of them, are skipped.
            label = f"{exchange_symbol}-{spelled(within) or source.kind}"
            after = f"{folder}{label}-{latest[0].period.start:%Y-%m}" if latest else None
            found = _objects(source, granularity, exchange_symbol, within, await self.keys(folder, after=after))
            latest = [*reversed(found), *latest]
        return latest

    async def _get(self, url: str, asked: Asked, params: dict[str, str] | None = None) -> httpx.Response | None:
        async with self._slots, self._limiter_for(urlsplit(url).netloc).request("archive"):
            return await self._get_now(url, asked, params)

    async def _get_now(self, url: str, asked: Asked, params: dict[str, str] | None) -> httpx.Response | None:
        try:
            async with self._client.stream("GET", url, params=params, headers=AS_IT_IS) as answer:
                content = b"".join([part async for part in answer.aiter_raw()])
        except httpx.TransportError as error:
            raise unreached(f"{url}: {type(error).__name__}", error, url, self._proxy, asked) from error
        # Whatever encoding it claims to have: bytes that are none are damaged, and their headers tell which issue is.
        headers = [header for header in answer.headers.raw if header[0].lower() != b"content-encoding"]
        response = httpx.Response(answer.status_code, headers=headers, content=content, request=answer.request)
        return None if response.status_code == httpx.codes.NOT_FOUND else accepted(response, asked)


def _no_listing(url: str, what: str) -> ExchangeUnavailable:
    return ExchangeUnavailable(f"{url} did not answer with a listing: {what}.", hint="Try again later.")


def _fault(wanted: ArchiveObject, sha256: str, checksum: str | None) -> str | None:
    """What is wrong with the checksum; None where the zip fits it."""
    stated = _CHECKSUM.match((checksum or "").lower())
    if stated and stated.group(1) == sha256:
        return None
    said = "has no checksum" if checksum is None else f"has SHA-256 {sha256}, but its checksum says {checksum[:80]!r}"
    return f"{wanted.key} {said}."


def _damaged(wanted: ArchiveObject, what: str) -> ObjectDamaged:
    return ObjectDamaged(f"{wanted.key} {what}.", **_where(wanted))


def _where(wanted: ArchiveObject) -> dict[str, Any]:
    hint = "Try again later: it may be being re-issued. Other sources cover the window meanwhile."
    return {"symbol": wanted.exchange_symbol, "window": wanted.period, "hint": hint}


def _structurally_bad(wanted: ArchiveObject, what: str) -> StructurallyBad:
    return StructurallyBad(
        f"{wanted.key} {what}.",
        symbol=wanted.exchange_symbol,
        window=wanted.period,
        hint="Look at the object; use REST for its window.",
    )


def unzip(wanted: ArchiveObject, zipped: bytes) -> bytes:
    """The bytes of the zip's only member.

    Raises:
        ObjectDamaged: not a zip, or cut short.
        StructurallyBad: not exactly one member, or one of an implausible size, or of a kind that zipfile does not read.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(zipped)) as opened:
            members = opened.infolist()
            _check_members(wanted, members)
            # zipfile reads no further than the stated size, so the check above bounds the memory.
            return opened.read(members[0])
    # Encrypted, or of a method or version unknown to zipfile.
    except RuntimeError as error:
        raise _structurally_bad(wanted, f"can't be read ({error})") from error
    # The inflaters have each an error of their own (bzip2's is an OSError); ValueError is a broken offset or name.
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError) as error:
        raise _damaged(wanted, f"is no sound zip ({error})") from error


def _check_members(wanted: ArchiveObject, members: list[zipfile.ZipInfo]) -> None:
    sound = len(members) == 1 and members[0].filename.endswith(".csv") and members[0].file_size <= MOST_CSV_BYTES
    if not sound:
        held = ", ".join(f"{member.filename} ({member.file_size} bytes)" for member in members[:5]) or "nothing"
        raise _structurally_bad(wanted, f"holds {held} instead of one CSV of at most {MOST_CSV_BYTES} bytes")


def _labels(wanted: ArchiveObject, csv: bytes) -> tuple[str, str, int]:
    try:
        first, last, rows = labels(csv)
        beyond = [label for label in (first, last) if label.isdigit() and int(label) > LATEST_MS]
    # Bytes that are no text, digits such as a superscript, or thousands of them: all of these are ValueErrors.
    except ValueError as error:
        raise _structurally_bad(wanted, f"has a first column that is neither time nor text ({error})") from error
    if beyond:
        raise _structurally_bad(wanted, f"has {beyond[0]} for a time, which is no milliseconds")
    return first, last, rows


def _unquoted(etag: str | None) -> str | None:
    return etag.removeprefix("W/").strip('"') if etag else None


def _last_modified(header: str | None) -> datetime | None:
    try:
        return parsedate_to_datetime(header).astimezone(UTC) if header else None
    except ValueError:
        # It is recorded and nothing else: the bytes are verified by their checksum.
        return None


def _objects(
    source: ArchiveSource, granularity: Granularity, exchange_symbol: str, interval: str | None, keys: list[str]
) -> list[ArchiveObject]:
    """The objects that a listing's keys name; checksums and stray keys name none."""
    periods = filter(None, map(period_of, keys))
    return [ArchiveObject(source.kind, granularity, exchange_symbol, interval, period) for period in periods]


def parse_listing(xml: bytes) -> tuple[list[Listed], str | None]:
    """The objects of an S3 listing page, with a delimiter the folders too, and the next page's marker (or None).

    S3 gives NextMarker with a delimiter only; without one the last key is the marker.

    Raises:
        ElementTree.ParseError: not XML.
        ValueError: XML, but no listing, such as a login page, which must not pass for an archive that has nothing.
    """
    root = ElementTree.fromstring(xml)  # noqa: S314  expat bounds entity expansion since 2.4.1
    if root.tag.rpartition("}")[2] != "ListBucketResult":
        raise ValueError(f"<{root.tag}> is no listing")
    # The live listing has S3's namespace; other servers of the protocol leave it out.
    space = _S3 if root.tag.startswith("{") else ""
    found = [_listed(entry, space) for entry in root.iter(f"{space}Contents") if entry.findtext(f"{space}Key")]
    names = [entry.findtext(f"{space}Prefix") for entry in root.iter(f"{space}CommonPrefixes")]
    found += [Listed(name) for name in names if name]
    if root.findtext(f"{space}IsTruncated", "false").lower() != "true":
        return found, None
    return found, root.findtext(f"{space}NextMarker") or (found[-1].key if found else None)


def _listed(entry: ElementTree.Element, space: str) -> Listed:
    modified, size = entry.findtext(f"{space}LastModified"), entry.findtext(f"{space}Size", "")
    return Listed(
        key=entry.findtext(f"{space}Key", ""),
        etag=_unquoted(entry.findtext(f"{space}ETag")),
        last_modified=datetime.fromisoformat(modified).astimezone(UTC) if modified else None,
        size=int(size) if size.isdigit() else None,
    )


def period_of(key: str) -> Window | None:
    """The UTC month or day that a zip's key names; None for other keys."""
    found = _PERIOD.search(key)
    if not found:
        return None
    text = found.group(1)
    if len(text) == len("2026-04"):
        return month_of(datetime.fromisoformat(f"{text}-01").replace(tzinfo=UTC))
    day = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return Window(day, day + DAY)
