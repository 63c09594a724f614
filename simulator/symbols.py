"""The listed contracts: one frozen table entry per symbol, with sizes, dates and funding schedule.

Dates follow the exchange where it is on record (BTCUSDT lists on 2019-09-08 17:55; its archive starts on 2019-12-31;
metrics start on 2020-09-01 for BTCUSDT and 2021-12-01 for the others). The rest is chosen to show a case: contracts
that change their funding interval or settle each hour, one that crashes, a young one, one on a stock, a delivery
contract, a delisted one, a `SETTLED` twin that only the archive knows next to the contract that bears the name again,
and a name outside ASCII.
"""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

from simulator.grid import FIVE_MINUTES, to_ms

PERPETUAL = "PERPETUAL"
# Perpetuals on stocks and commodities.
TRADIFI_PERPETUAL = "TRADIFI_PERPETUAL"
# What the exchange writes as deliveryDate of a contract without an end (2100-12-25).
NO_DELIVERY = 4_133_404_800_000


@dataclass(frozen=True, slots=True)
class Contract:
    """One contract. Prices count in units of 10**-price_decimals, quantities in units of 10**-quantity_decimals.

    `crash` is an instant, and the share of the price that is left an hour later, and for good.
    """

    symbol: str
    base: str
    listed: int
    price: float
    price_decimals: int
    quantity_decimals: int
    minute_volume: float
    open_interest: float
    tick: int = 1
    daily_move: float = 0.03
    quote: str = "USDT"
    contract_type: str = PERPETUAL
    delivery: int = NO_DELIVERY
    delisted: int | None = None
    funding: tuple[tuple[int, int], ...] = ((0, 8),)
    funding_from: int | None = None
    archive_from: int | None = None
    metrics_from: int | None = None
    has_metrics: bool = True
    underlying_type: str = "COIN"
    underlying_subtypes: tuple[str, ...] = ()
    crash: tuple[int, float] | None = None

    @property
    def number(self) -> int:
        """A stable number of the symbol, part of every random seed."""
        return crc32(self.symbol.encode())

    @property
    def pair(self) -> str:
        """The pair of a delivery contract's symbol; the symbol itself for perpetuals."""
        return self.symbol.split("_", 1)[0]

    @property
    def ends(self) -> int:
        """The instant after which nothing trades: delisting or delivery."""
        return min(self.delivery, self.delisted or NO_DELIVERY)

    @property
    def first_archived(self) -> int:
        """The first instant that archive kline files cover."""
        return max(self.listed, self.archive_from or self.listed)

    @property
    def first_metrics(self) -> int:
        """The first metrics instant: as published, and never before one whole 5-minute candle has traded."""
        earliest = -(-(self.listed + FIVE_MINUTES) // FIVE_MINUTES) * FIVE_MINUTES
        return max(earliest, self.metrics_from or earliest)

    def interval_hours(self, at: int) -> int:
        """Hours of the funding interval that ends at the settlement `at` (a change counts after its instant)."""
        return [hours for since, hours in self.funding if since < at][-1]

    def is_listed(self, now: int) -> bool:
        """Whether exchangeInfo shows the contract and REST answers for it at `now`."""
        return self.listed <= now < self.ends


_OLD_METRICS = to_ms("2021-12-01")
_INVENTED_LISTED = to_ms("2024-03-01T10:00")

CONTRACTS: tuple[Contract, ...] = (
    Contract(
        "BTCUSDT", "BTC", to_ms("2019-09-08T17:55"), 60_000, 2, 3, 120.0, 95_000.0, tick=10, daily_move=0.025,
        funding_from=to_ms("2019-09-10T08:00"), archive_from=to_ms("2019-12-31"), metrics_from=to_ms("2020-09-01"),
        underlying_subtypes=("PoW",),
    ),
    Contract(
        "ETHUSDT", "ETH", to_ms("2019-11-27T07:45"), 2_900, 2, 3, 1_500.0, 1_700_000.0,
        archive_from=to_ms("2019-12-31"), metrics_from=_OLD_METRICS, underlying_subtypes=("Layer-1",),
    ),
    Contract(
        "SOLUSDT", "SOL", to_ms("2020-09-14T07:00"), 150, 4, 0, 9_000.0, 9_500_000.0, tick=100, daily_move=0.035,
        metrics_from=_OLD_METRICS, underlying_subtypes=("Layer-1",),
    ),
    Contract(
        "1000PEPEUSDT", "1000PEPE", to_ms("2023-05-05T16:00"), 0.0105, 7, 0, 30_000_000.0, 9_000_000_000.0,
        daily_move=0.045, funding=((0, 8), (to_ms("2023-05-08"), 4)), underlying_subtypes=("Meme",),
    ),
    Contract(
        "ALICEUSDT", "ALICE", to_ms("2021-03-19T07:00"), 1.2, 3, 1, 8_000.0, 6_000_000.0, daily_move=0.04,
        funding=((0, 8), (to_ms("2026-07-20"), 4)), metrics_from=_OLD_METRICS, underlying_subtypes=("Metaverse",),
    ),
    Contract(
        "NEWUSDT", "NEW", to_ms("2026-09-05T12:30"), 0.45, 5, 0, 60_000.0, 40_000_000.0, daily_move=0.06,
        funding=((0, 4),), underlying_subtypes=("DePIN",),
    ),
    Contract(
        "币安人生USDT", "币安人生", to_ms("2025-10-09T09:00"), 0.22, 5, 0, 90_000.0, 70_000_000.0, daily_move=0.06,
        funding=((0, 4),), underlying_subtypes=("Meme",),
    ),
    Contract(
        "FTMUSDT", "FTM", to_ms("2020-08-25T07:00"), 0.6, 4, 0, 40_000.0, 60_000_000.0, daily_move=0.04,
        delisted=to_ms("2026-06-30T09:00"), metrics_from=_OLD_METRICS, underlying_subtypes=("Layer-1",),
    ),
    Contract(
        "ICPUSDTSETTLED", "ICP", to_ms("2021-05-11T00:00"), 40, 2, 0, 2_000.0, 1_500_000.0, daily_move=0.05,
        delisted=to_ms("2022-06-13T09:00"), metrics_from=_OLD_METRICS, underlying_subtypes=("Layer-1",),
    ),
    Contract(
        "ICPUSDT", "ICP", to_ms("2022-09-27T02:30"), 6, 3, 0, 15_000.0, 9_000_000.0, daily_move=0.045,
        underlying_subtypes=("Layer-1",),
    ),
    Contract(
        "COSUSDT", "COS", to_ms("2026-02-11T11:00"), 0.012, 6, 0, 2_000_000.0, 900_000_000.0, daily_move=0.05,
        funding=((0, 1),), underlying_subtypes=("Media",), crash=(to_ms("2026-09-15T08:00"), 0.65),
    ),
    Contract(
        "ICXUSDT", "ICX", to_ms("2021-02-11T07:00"), 0.14, 4, 0, 120_000.0, 80_000_000.0, daily_move=0.045,
        funding=((0, 8), (to_ms("2026-07-06"), 2), (to_ms("2026-08-17"), 8)), metrics_from=_OLD_METRICS,
        underlying_subtypes=("Layer-1",),
    ),
    Contract(
        "TSLAUSDT", "TSLA", to_ms("2026-01-28T14:30"), 430, 2, 2, 60.0, 35_000.0, daily_move=0.02,
        contract_type=TRADIFI_PERPETUAL, underlying_type="EQUITY", underlying_subtypes=("TradFi",),
    ),
    Contract(
        "BTCUSDT_261225", "BTC", to_ms("2026-06-26T08:00"), 60_800, 1, 3, 4.0, 2_500.0, tick=1, daily_move=0.025,
        contract_type="CURRENT_QUARTER", delivery=to_ms("2026-12-25T08:00"), has_metrics=False,
    ),
)  # fmt: skip
BY_SYMBOL: dict[str, Contract] = {contract.symbol: contract for contract in CONTRACTS}


def universe(perpetuals: int) -> tuple[Contract, ...]:
    """The contracts above, and as many invented ones as it takes until so many perpetuals stay listed."""
    lasting = sum(contract.ends == NO_DELIVERY for contract in CONTRACTS)
    return CONTRACTS + tuple(map(_invented, range(1, max(perpetuals - lasting, 0) + 1)))


def _invented(number: int) -> Contract:
    base = f"COIN{number:04d}"
    return Contract(f"{base}USDT", base, _INVENTED_LISTED, 10.0, 4, 1, 20_000.0, 9_000_000.0, daily_move=0.04)
