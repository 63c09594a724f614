"""What the store must mend: files that the archive issues again, and holes that somebody punches into it by hand."""

from __future__ import annotations

from contextlib import suppress
from random import Random
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql

from perpflow.store.database import connection_options, to_multirange
from perpflow.windows import DAY, Window
from soak.chaos import Trouble
from soak.house import House
from soak.market import Market
from soak.tally import Tally

#: Punched rows by dataset, written with the hole itself: whoever counts inserted rows counts these twice.
PUNCHED = "CREATE TABLE IF NOT EXISTS soak_punched (dataset text NOT NULL, rows bigint NOT NULL)"
LONGEST_HOLE_DAYS = 2


class Reissuer(Trouble):
    """Serves first issues of some days from the start, and issues them again one after another, all by the end."""

    def __init__(self, house: House, tally: Tally, dice: Random, market: Market) -> None:
        super().__init__(house, tally, dice)
        self._market = market
        self._waiting: list[int] = []

    def __enter__(self) -> Self:
        self._waiting = [issue.serve(self.house.exchange) for issue in self._market.first_issues]
        self.dice.shuffle(self._waiting)
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        while self._waiting:
            self.strike()

    def strike(self) -> None:
        """Issue one of them again."""
        if self._waiting:
            self.house.exchange.remove_fault(self._waiting.pop())
            self.tally.count(self.tally.struck, "re-issued")

    def calm_s(self) -> float:
        """Long enough that most first issues are read before."""
        return self.dice.uniform(5, 15)


class Puncher(Trouble):
    """Deletes whole days of a symbol's rows, and what the ledger says of them, in one transaction."""

    def __init__(self, house: House, tally: Tally, dice: Random, market: Market) -> None:
        super().__init__(house, tally, dice)
        self._market = market

    def strike(self) -> None:
        """One hole, where the database is there."""
        dataset, symbol = self.dice.choice(self._market.datasets), self.dice.choice(self._market.symbols)
        span = self.dice.choice(self._market.spans)
        start = span.start + self.dice.randrange(max(span.length // DAY, 1)) * DAY
        hole = Window(start, min(start + self.dice.randint(1, LONGEST_HOLE_DAYS) * DAY, span.end))
        # Servers are being killed meanwhile: a hole that does not come about is none.
        with suppress(psycopg.OperationalError):
            punch(self.house.database_url, dataset, symbol, hole)
            self.tally.count(self.tally.struck, "hole")

    def calm_s(self) -> float:
        """Seconds until the next hole."""
        return self.dice.uniform(4, 12)


def punch(url: str, dataset: str, symbol: str, hole: Window) -> None:
    """Take rows and ledger's claims of a time away together, as nothing of ours ever does.

    What the gate has withheld stays claimed: its rows are in the quarantine and nowhere else.
    """
    with psycopg.connect(url, **connection_options() | {"autocommit": False}) as connection:
        connection.execute(PUNCHED)
        claimed = "SELECT FROM coverage WHERE dataset = %s AND symbol = %s ORDER BY series FOR UPDATE"
        connection.execute(claimed, [dataset, symbol])
        taken = sql.SQL("DELETE FROM {} WHERE symbol = %s AND time >= %s AND time < %s").format(sql.Identifier(dataset))
        gone = connection.execute(taken, [symbol, hole.start, hole.end]).rowcount
        connection.execute(
            "UPDATE coverage SET present = present - %s WHERE dataset = %s AND symbol = %s",
            [to_multirange([hole]), dataset, symbol],
        )
        connection.execute("INSERT INTO soak_punched VALUES (%s, %s)", [dataset, gone])
