"""The exchange's words for what a contract is and how it stands, as `exchangeInfo` gives them. Pure."""

from __future__ import annotations

from typing import Protocol

#: On shares and commodities, whose markets have sessions.
TRADIFI = "TRADIFI_PERPETUAL"
#: Perpetuals, which are all that is collected; delivery contracts are left alone.
PERPETUAL_TYPES = ("PERPETUAL", TRADIFI)
#: Listed, and not traded yet.
ANNOUNCED = "PENDING_TRADING"
#: Of these more data is to come; the others keep what they have.
COLLECTED_STATUSES = ("TRADING", "PRE_DELIVERING", "SETTLING", "PRE_SETTLE")
#: Every status that a listed contract may have.
STATUSES = (ANNOUNCED, *COLLECTED_STATUSES, "DELIVERING", "DELIVERED", "CLOSE")


class Contract(Protocol):
    """What filters look at."""

    @property
    def symbol(self) -> str:
        """`SOL/USDT`."""

    @property
    def quote(self) -> str:
        """The currency that its prices are in."""

    @property
    def contract_type(self) -> str:
        """One of `PERPETUAL_TYPES`."""

    @property
    def status(self) -> str:
        """One of `STATUSES`, or ours for a contract that is no longer listed."""
