"""What can go wrong with the embedded services.

ServiceError                the service can't run: the message names it, shows its log's end and says what to do
PackageUnavailable          TimescaleDB can't be had on this host: never fatal, PostgreSQL then runs without it
"""

from pathlib import Path

# What PostgreSQL or Redis says before it gives up fits well within this.
LOG_LINES_SHOWN = 15


class ServiceError(RuntimeError):
    """An embedded service can't be started, reached or stopped."""

    def __init__(self, service: str, problem: str, *, advice: str, log: Path | None = None) -> None:
        self.service = service
        lines = [f"{service}: {problem}"]
        if log is not None and (tail := log_tail(log)):
            lines += [f"Last lines of {log}:", *(f"    {line}" for line in tail)]
        super().__init__("\n".join([*lines, f"What to do: {advice}"]))


class PackageUnavailable(RuntimeError):
    """TimescaleDB's package can't be fetched, unpacked or loaded; the message names what is missing."""


def log_tail(log: Path, lines: int = LOG_LINES_SHOWN) -> list[str]:
    """The last lines of a log, or none when there is no log yet."""
    try:
        return log.read_text(errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        return []
