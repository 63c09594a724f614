"""Where a campaign lives: TimescaleDB, Redis and a simulated exchange of its own, in one state folder."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from perpflow import embedded, pipeline
from perpflow.embedded.processes import processes_in
from perpflow.embedded.simulated import without_external_servers
from perpflow.embedded.state import Services
from perpflow.settings import Collection, Deployment
from simulator.process import Handle, running
from tests.loading import EAGER, LIMITS


@dataclass(frozen=True, slots=True)
class House:
    """The servers and the exchange of one campaign. Their ports stay the same when they are started again."""

    state: Path
    services: Services
    exchange: Handle

    @property
    def logs(self) -> Path:
        """The servers' logs and the workers'."""
        return self.state / "logs"

    @property
    def worker_log(self) -> Path:
        """What all worker processes log."""
        return self.logs / "workers.log"

    @property
    def database_url(self) -> str:
        """The market database."""
        assert self.services.database.url is not None
        return self.services.database.url

    @property
    def deployment(self) -> Deployment:
        """What workers are told: all of the exchange's limits, for they have it to themselves."""
        return Deployment(
            database_url=self.database_url,
            redis_url=self.services.redis.url,
            rest_url=self.exchange.url,
            archive_url=self.exchange.url,
            collection=Collection(exchange=EAGER),
        )

    def restart(self) -> None:
        """Start the servers that do not run."""
        embedded.start(self.state)

    def left_running(self) -> list[int]:
        """Processes of the servers that are still there."""
        folders = (self.services.database.data, self.services.redis.data)
        return [pid for folder in folders if folder for pid in processes_in(Path(folder))]


@contextmanager
def opened(name: str, seed: int) -> Iterator[House]:
    """A migrated house whose exchange stands still in time. The caller discards it when nothing went wrong.

    The limits of the exchange are raised out of the way: what holds them is the politeness campaign's question.
    """
    state = Path(tempfile.mkdtemp(prefix=f"perpflow-soak-{name}-"))
    with without_external_servers():
        try:
            services = embedded.start(state)
            with running(seed=seed) as exchange:
                exchange.set_limits(**LIMITS)
                house = House(state, services, exchange)
                pipeline.migrate(house.deployment)
                yield house
        finally:
            embedded.stop(state)


def discard(house: House) -> None:
    """Delete a house's data and logs."""
    embedded.discard(house.state)
    shutil.rmtree(house.state, ignore_errors=True)
