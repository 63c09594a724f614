"""TimescaleDB and Redis on a laptop, without Docker or root: for the demo, development and tests.

    services = perpflow.embedded.start()          # or start(Path("/some/state/folder"))
    services.database.url, services.airflow_database.url, services.redis.url
    perpflow.embedded.stop()

Servers outlive the process that started them. Importing this costs nothing: the work is in the submodules.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perpflow.embedded.state import Services


def start(state_dir: Path | None = None) -> "Services":
    """Start what isn't running and say where everything is."""
    from perpflow.embedded import services

    return services.start(state_dir)


def stop(state_dir: Path | None = None) -> "Services":
    """Stop both servers cleanly."""
    from perpflow.embedded import services

    return services.stop(state_dir)


def status(state_dir: Path | None = None) -> "Services":
    """How the services are now."""
    from perpflow.embedded import services

    return services.status(state_dir)


def discard(state_dir: Path) -> None:
    """Stop the services of a temporary state folder and delete all their data."""
    from perpflow.embedded import services

    services.discard(state_dir)
