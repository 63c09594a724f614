"""Reading the simulator's archive the way a client does, for these tests."""

from __future__ import annotations

import hashlib
import io
import xml.etree.ElementTree as ET
import zipfile
from urllib.parse import quote

import httpx

ROOT = "data/futures/um/"
_NS = {"s3": "http://s3.amazonaws.com/doc/2006-03-01/"}


def kline_key(symbol: str, interval: str, label: str, kind: str = "klines") -> str:
    """The key of a kline zip, daily or monthly by the length of the label."""
    granularity = "monthly" if len(label) == 7 else "daily"
    return f"{ROOT}{granularity}/{kind}/{symbol}/{interval}/{symbol}-{interval}-{label}.zip"


def metrics_key(symbol: str, day: str) -> str:
    """The key of a metrics zip."""
    return f"{ROOT}daily/metrics/{symbol}/{symbol}-metrics-{day}.zip"


def funding_key(symbol: str, month: str) -> str:
    """The key of a funding zip."""
    return f"{ROOT}monthly/fundingRate/{symbol}/{symbol}-fundingRate-{month}.zip"


def lines(http: httpx.Client, key: str) -> list[list[str]]:
    """All lines of the CSV inside, split, a header included; asserts that the CHECKSUM fits."""
    content = download(http, key)
    said = http.get(f"/{quote(key)}.CHECKSUM").text
    assert said == f"{hashlib.sha256(content).hexdigest()}  {key.rsplit('/', 1)[1]}\n"
    return unzip(content)


def download(http: httpx.Client, key: str) -> bytes:
    """The bytes of an object that must exist."""
    answer = http.get(f"/{quote(key)}")
    assert answer.status_code == 200, key
    return answer.content


def unzip(content: bytes) -> list[list[str]]:
    """The split lines of the one CSV in a zip."""
    with zipfile.ZipFile(io.BytesIO(content)) as container:
        (name,) = container.namelist()
        return [line.split(",") for line in container.read(name).decode().splitlines()]


class Page:
    """One page of an S3 listing."""

    def __init__(self, text: str) -> None:
        tree = ET.fromstring(text)  # noqa: S314 - our own simulator's answer
        self.keys = [node.text or "" for node in tree.iterfind("s3:Contents/s3:Key", _NS)]
        self.etags = [node.text or "" for node in tree.iterfind("s3:Contents/s3:ETag", _NS)]
        self.prefixes = [node.text or "" for node in tree.iterfind("s3:CommonPrefixes/s3:Prefix", _NS)]
        self.truncated = tree.findtext("s3:IsTruncated", namespaces=_NS) == "true"
        self.next_marker = tree.findtext("s3:NextMarker", namespaces=_NS)


def page(http: httpx.Client, prefix: str, marker: str = "", delimiter: str = "/") -> Page:
    """One page of the listing below a prefix."""
    query = {"prefix": prefix, "marker": marker} | ({"delimiter": delimiter} if delimiter else {})
    answer = http.get("/", params=query)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/xml")
    return Page(answer.text)


def all_keys(http: httpx.Client, prefix: str, delimiter: str = "/") -> list[str]:
    """Every key below a prefix, page after page."""
    keys: list[str] = []
    marker = ""
    while True:
        found = page(http, prefix, marker, delimiter)
        keys += found.keys
        if not found.truncated:
            return keys
        assert len(found.keys) == 1000
        assert (found.next_marker is not None) == bool(delimiter)
        marker = found.next_marker or found.keys[-1]
