"""Frames of the exchange's market streams: bytes to events. Pure.

Combined frames (`{"stream": ..., "data": ...}`) of `markPriceUpdate`, `aggTrade`, `24hrTicker` and `forceOrder`, and
replies to SUBSCRIBE. Field sets differ between captures of different years: unknown fields are ignored, and of a list
each entry is read by itself where one of them is not as documented.

Since June 2026 the same streams carry COIN-M contracts (`st` 2) beside USD-M ones (`st` 1, or absent in older frames).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from perpflow.errors import StructurallyBad

#: `st` of a USD-M contract.
USD_M = 1

#: A price is finite and above 0; anything else would be a value that no market has.
Price = Annotated[float, msgspec.Meta(gt=0, le=1e15)]
#: Between 2017, before which there was no exchange, and 2100, in ms.
Instant = Annotated[int, msgspec.Meta(ge=1_483_228_800_000, lt=4_102_444_800_000)]
#: An event's time in ms: what lies behind 2100 would never be replaced by a newer one.
EventTime = Annotated[int, msgspec.Meta(ge=0, lt=4_102_444_800_000)]
#: What every database and file can hold. A contract may have a name in Chinese characters.
Word = Annotated[str, msgspec.Meta(pattern=r"\A[\x21-\x7e]{1,40}\Z")]
Name = Annotated[str, msgspec.Meta(pattern=r"\A[^\x00-\x20]{1,60}\Z")]


class MarkPrice(msgspec.Struct, tag_field="e", tag="markPriceUpdate", frozen=True, gc=False):
    """Mark price, index price and the funding to come. `E`, `T` in ms; `r` is empty for contracts without funding."""

    event_ms: EventTime = msgspec.field(name="E")
    exchange_symbol: str = msgspec.field(name="s")
    mark_price: Price = msgspec.field(name="p")
    index_price: Annotated[float, msgspec.Meta(ge=0, le=1e15)] = msgspec.field(name="i", default=0.0)
    funding_rate: str = msgspec.field(name="r", default="")
    next_funding_ms: EventTime = msgspec.field(name="T", default=0)
    market: int = msgspec.field(name="st", default=USD_M)


class AggTrade(msgspec.Struct, tag_field="e", tag="aggTrade", frozen=True, gc=False):
    """Trades of one taker order at one price; the last price is its price."""

    event_ms: EventTime = msgspec.field(name="E")
    exchange_symbol: str = msgspec.field(name="s")
    price: Price = msgspec.field(name="p")
    market: int = msgspec.field(name="st", default=USD_M)


class Ticker(msgspec.Struct, tag_field="e", tag="24hrTicker", frozen=True, gc=False):
    """The last day's statistics, of which the last price (`c`) is read."""

    event_ms: EventTime = msgspec.field(name="E")
    exchange_symbol: str = msgspec.field(name="s")
    price: Price = msgspec.field(name="c")
    market: int = msgspec.field(name="st", default=USD_M)


class Order(msgspec.Struct, frozen=True, gc=False):
    """The order of a liquidation; whether its numbers make sense is the gate's business.

    `z` is what was filled in all and `ap` at which average price; `l` is the last fill alone, `p` the bankruptcy price.
    `SELL` closes a long position.
    """

    exchange_symbol: Name = msgspec.field(name="s")
    side: Word = msgspec.field(name="S")
    order_type: Word = msgspec.field(name="o")
    time_in_force: Word = msgspec.field(name="f")
    quantity: float = msgspec.field(name="q")
    price: float = msgspec.field(name="p")
    average_price: float = msgspec.field(name="ap")
    status: Word = msgspec.field(name="X")
    filled_quantity: float = msgspec.field(name="z")
    trade_ms: Instant = msgspec.field(name="T")
    market: int = msgspec.field(name="st", default=USD_M)


class ForceOrder(msgspec.Struct, tag_field="e", tag="forceOrder", frozen=True, gc=False):
    """A liquidation: at most one a second and symbol, the largest."""

    event_ms: Instant = msgspec.field(name="E")
    order: Order = msgspec.field(name="o")

    @property
    def exchange_symbol(self) -> str:
        """The exchange's name of the contract."""
        return self.order.exchange_symbol

    @property
    def market(self) -> int:
        """`USD_M`, or another number."""
        return self.order.market


Event = MarkPrice | AggTrade | Ticker | ForceOrder


class _Refusal(msgspec.Struct, frozen=True):
    code: int | None = None
    msg: str = ""


class _Frame(msgspec.Struct, frozen=True):
    stream: str = ""
    data: Event | list[Event] | None = None
    id: int | None = None
    code: int | None = None
    msg: str = ""
    #: Some of the exchange's servers put the refusal inside.
    error: _Refusal | None = None


class _Loose(msgspec.Struct, frozen=True):
    """A frame of which only the outside is as documented."""

    stream: str = ""
    data: msgspec.Raw = msgspec.Raw()


# Not strict: prices are text on the wire.
_FRAME = msgspec.json.Decoder(_Frame, strict=False)
_LOOSE = msgspec.json.Decoder(_Loose)
#: What decoding may raise: text that is no UTF-8 and nesting without end have errors of their own.
_NOT_READ = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_ENTRIES = msgspec.json.Decoder(list[msgspec.Raw])
_EVENT: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event, strict=False)


@dataclass(frozen=True, slots=True)
class Frame:
    """What a frame held: events of a stream, or the reply to request `reply_to`, refused where `refusal` is not empty.

    `unreadable` says why, for each entry that is not as documented or of a kind that is not known here.
    """

    stream: str
    events: tuple[Event, ...] = ()
    reply_to: int | None = None
    refusal: str = ""
    unreadable: tuple[str, ...] = ()


def decode(frame: bytes) -> Frame:
    """Read a frame.

    Raises:
        StructurallyBad: it is not JSON, or neither events of a stream nor a reply.
    """
    try:
        read = _FRAME.decode(frame)
    except msgspec.ValidationError:
        return _entry_by_entry(frame)
    except _NOT_READ as error:
        raise _not_a_frame(frame, str(error)) from error
    if read.data is not None:
        return Frame(read.stream, tuple(read.data) if isinstance(read.data, list) else (read.data,))
    refusal = read.error or _Refusal(read.code, read.msg)
    if read.id is None and refusal.code is None:
        raise _not_a_frame(frame, "neither data nor a reply")
    is_refused = read.error is not None or refusal.code is not None
    return Frame("", reply_to=read.id, refusal=f"{refusal.msg} (code {refusal.code})" if is_refused else "")


def _entry_by_entry(frame: bytes) -> Frame:
    try:
        loose = _LOOSE.decode(frame)
        entries = _ENTRIES.decode(loose.data) if bytes(loose.data).startswith(b"[") else [loose.data]
    except _NOT_READ as error:
        raise _not_a_frame(frame, str(error)) from error
    events: list[Event] = []
    unreadable = []
    for entry in entries:
        try:
            events.append(_EVENT.decode(entry))
        except _NOT_READ as error:
            unreadable.append(f"{error}: {bytes(entry)[:120]!r}")
    return Frame(loose.stream, tuple(events), unreadable=tuple(unreadable))


def _not_a_frame(frame: bytes, why: str) -> StructurallyBad:
    return StructurallyBad(
        f"a frame of {len(frame)} bytes is not as documented ({why}): {frame[:120]!r}.",
        hint="Compare the exchange's documentation of its market streams with frames.py.",
    )


def funding_of(event: MarkPrice) -> float | None:
    """The estimated rate of the next settlement; None for contracts without funding."""
    try:
        rate = float(event.funding_rate)
    except ValueError:
        return None
    return rate if math.isfinite(rate) else None


def subscribe(streams: list[str], number: int) -> bytes:
    """The request for some streams; its reply bears the number."""
    request: dict[str, Any] = {"method": "SUBSCRIBE", "params": streams, "id": number}
    return msgspec.json.encode(request)
