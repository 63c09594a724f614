"""What is remembered between two runs, and what callers are told.

<state>/services.json   ports and passwords, readable by its owner alone
<state>/lock            one start or stop at a time
<state>/logs/           postgres.log, redis.log
<state>/postgres/       PostgreSQL's data; this and the next elsewhere if the servers' account can't reach <state>
<state>/redis/          Redis' append-only file
<checkout>/.perpflow/cache/   programs, shared by all state folders
"""

import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from perpflow.embedded.accounts import substitute_folder
from perpflow.embedded.errors import ServiceError

CHECKOUT = Path(__file__).resolve().parents[3]
ROLE = "perpflow"
MARKET_DATABASE = "perpflow"
AIRFLOW_DATABASE = "airflow"


@dataclass(frozen=True)
class Database:
    """The market database: where it is and how it is. `timescaledb` is its version, or None and the reason."""

    url: str | None
    running: bool
    external: bool = False
    version: str | None = None
    problem: str | None = None
    timescaledb: str | None = None
    timescaledb_missing: str | None = None
    data: str | None = None
    log: str | None = None


@dataclass(frozen=True)
class AirflowDatabase:
    """The database for Airflow's metadata, on the same server; none of ours when the server is external."""

    url: str | None
    running: bool


@dataclass(frozen=True)
class Redis:
    """The Redis server: where it is and how it is."""

    url: str | None
    running: bool
    external: bool = False
    version: str | None = None
    problem: str | None = None
    data: str | None = None
    log: str | None = None


@dataclass(frozen=True)
class Services:
    """All services, as `perpflow services status --json` prints them."""

    database: Database
    airflow_database: AirflowDatabase
    redis: Redis
    warnings: tuple[str, ...] = ()

    @property
    def running(self) -> bool:
        """Whether everything answers."""
        return self.database.running and self.redis.running

    def as_json(self) -> str:
        """The interface for scripts: names here stay put."""
        return json.dumps(asdict(self), indent=2)


Port = Annotated[int, Field(ge=1, le=65535)]
# They stand in URLs as they are.
Password = Annotated[str, Field(pattern=r"^[\w.~-]+$")]


@dataclass
class Memory:
    """What services.json holds. Ports are chosen once and kept as long as no stranger takes them."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    database_port: Port | None = None
    database_password: Password = field(default_factory=lambda: secrets.token_hex(16))
    redis_port: Port | None = None
    redis_password: Password = field(default_factory=lambda: secrets.token_hex(16))
    # The version whose objects stand in the data folder: it can't be opened without that extension any more.
    timescaledb: str | None = None
    timescaledb_missing: str | None = None

    @property
    def provisioned(self) -> bool:
        """Whether databases and extension were made to the end."""
        return self.timescaledb is not None or self.timescaledb_missing is not None

    def database_url(self, name: str) -> str | None:
        """The URL of one of our databases, once the server has had a port."""
        if self.database_port is None:
            return None
        return f"postgresql://{ROLE}:{self.database_password}@127.0.0.1:{self.database_port}/{name}"

    def redis_url(self) -> str | None:
        """The URL of our Redis, once it has had a port."""
        return None if self.redis_port is None else f"redis://:{self.redis_password}@127.0.0.1:{self.redis_port}/0"


def default_state_dir() -> Path:
    """PERPFLOW_HOME, else the checkout's ignored folder, else (installed without a checkout) the user's own."""
    if home := os.environ.get("PERPFLOW_HOME"):
        return Path(home).expanduser()
    return (CHECKOUT if (CHECKOUT / "pyproject.toml").exists() else Path.home()) / ".perpflow"


def default_cache_dir() -> Path:
    """PERPFLOW_CACHE, else one folder for all states of this checkout, so that tests don't fetch again."""
    if cache := os.environ.get("PERPFLOW_CACHE"):
        return Path(cache).expanduser()
    shared = (CHECKOUT if (CHECKOUT / "pyproject.toml").exists() else Path.home()) / ".perpflow" / "cache"
    nearest = next(folder for folder in (shared, *shared.parents) if folder.exists())
    # A checkout of somebody else's, or one whose cache root made, is only read.
    return shared if os.access(nearest, os.W_OK) else Path.home() / ".cache" / "perpflow"


@dataclass(frozen=True)
class StateFolder:
    """One set of services: its files."""

    root: Path

    @property
    def lock(self) -> Path:
        """Held while starting and stopping."""
        return self.root / "lock"

    def log(self, service: str) -> Path:
        """A server's log."""
        return self.root / "logs" / f"{service}.log"

    def data(self, service: str) -> Path:
        """A server's data folder, where it is or would be, without making anything."""
        substitute = substitute_folder(self.root)
        return (substitute if substitute.exists() else self.root) / service

    def make(self) -> None:
        """Make the folder where it is missing.

        Raises:
            ServiceError: it can't be made.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise _unusable(self.root, problem) from problem

    def recall(self) -> Memory | None:
        """What services.json says, or None before the first start.

        Raises:
            ServiceError: the file belongs to another user, can't be read, or is damaged.
        """
        file = self.root / "services.json"
        try:
            return TypeAdapter(Memory).validate_json(file.read_bytes())
        except FileNotFoundError:
            return None
        except PermissionError as problem:
            raise ServiceError(
                "services", f"{self.root} belongs to another user", advice="run as that user, or set PERPFLOW_HOME"
            ) from problem
        except OSError as problem:
            raise _unusable(file, problem) from problem
        except ValidationError:
            # Cut short, as by a full disk or a copy that broke off, or not what we write. Its passwords are gone with
            # it, and without them the data can't be opened. From None: pydantic quotes what it refuses, passwords too.
            raise ServiceError(
                "services", f"{file} is damaged",
                advice=f"restore it, or remove it, and {self.data('postgres')} with its data too, to begin again",
            ) from None  # fmt: skip

    def remember(self, memory: Memory) -> None:
        """Write services.json: never half, never readable by others, not even for a moment."""
        new = self.root / "services.json.new"
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(asdict(memory), file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.root / "services.json")


def _unusable(path: Path, problem: OSError) -> ServiceError:
    advice = "let PERPFLOW_HOME name a folder of yours, or leave it unset"
    return ServiceError("services", f"{path} can't be used: {problem.strerror}", advice=advice)
