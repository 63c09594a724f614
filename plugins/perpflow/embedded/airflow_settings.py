"""The environment that Airflow's processes run in: where everything is, small enough for a laptop, reachable from here.

What Perpflow depends on wins over the caller's environment; what only tunes (`TUNING`) gives way to it.
"""

import base64
import json
import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from perpflow.embedded.accounts import Account
from perpflow.embedded.errors import ServiceError
from perpflow.embedded.state import CHECKOUT, Services
from perpflow.settings import load_collection

LOGIN = "admin"

TUNING = {
    # Four tasks keep two cores busy, as each waits for exchange and database half of its time; a fifth is the stream,
    # which is never over. Every worker of the LocalExecutor is a process that exists from the start.
    "AIRFLOW__CORE__PARALLELISM": "5",
    "AIRFLOW__API__WORKERS": "1",
    # On loopback: whoever opens the UI to a network decides so, and puts TLS before it.
    "AIRFLOW__API__HOST": "127.0.0.1",
    "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
    # No DNS: a laptop's own name often takes seconds to resolve, or doesn't.
    "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",
    "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
    # A new file in dags/ shows up within a minute, as one expects on one's own machine.
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "60",
    # What a scheduler that died has left is started anew within a minute or so, not after five: a stream that is gone
    # with it misses liquidations all the while.
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "30",
    # Great Expectations would report its use to its maker.
    "GX_ANALYTICS_ENABLED": "false",
}
# Where the metadata is on our server: another one's driver may not know these arguments.
METADATA_TUNING = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS": "perpflow.metadata_session.CONNECT_ARGS"}


def pools() -> dict[str, int]:
    """Pools and their slots; DAGs name them. A pool bounds tasks, the exchange's limits are the weight budget's work.

    Raises:
        BadConfiguration: collection.yaml is not valid.
    """
    return load_collection().airflow.pools.model_dump()


@dataclass
class AirflowMemory:
    """What airflow.json holds: secrets that are made once, and the port that was chosen."""

    port: int | None = None
    password: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    jwt_secret: str = field(default_factory=lambda: secrets.token_hex(32))
    secret_key: str = field(default_factory=lambda: secrets.token_hex(32))
    fernet_key: str = field(default_factory=lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())

    @property
    def url(self) -> str:
        """Where UI and REST API are."""
        return f"http://127.0.0.1:{self.port}"


def recall(file: Path) -> AirflowMemory:
    """What was remembered, or new secrets."""
    try:
        return AirflowMemory(**json.loads(file.read_text()))
    except FileNotFoundError:
        return AirflowMemory()


def write_private(file: Path, content: object) -> None:
    """Write JSON that its owner alone can read."""
    Account(os.geteuid(), os.getegid()).write(file, json.dumps(content, indent=2))


def remember(file: Path, memory: AirflowMemory) -> None:
    """Write airflow.json."""
    write_private(file, asdict(memory))


#: Where tasks read the exchange's addresses.
EXCHANGE_VARIABLES = ("PERPFLOW_REST_URL", "PERPFLOW_ARCHIVE_URL", "PERPFLOW_STREAM_URL")


@dataclass(frozen=True)
class ExchangeAddress:
    """Which exchange is collected from; None means the live one."""

    rest_url: str | None = None
    archive_url: str | None = None
    stream_url: str | None = None
    simulated: bool = False

    @classmethod
    def from_environment(cls) -> "ExchangeAddress":
        """What the caller's environment names, or the live exchange."""
        rest, archive, stream = (os.environ.get(name) or None for name in EXCHANGE_VARIABLES)
        return cls(rest, archive, stream)

    @classmethod
    def of_simulator(cls, url: str) -> "ExchangeAddress":
        """A simulated exchange, which has everything on one port."""
        return cls(url, url, f"ws{url.removeprefix('http')}", simulated=True)

    def as_environment(self) -> dict[str, str]:
        """The variables that tasks read."""
        named = dict(zip(EXCHANGE_VARIABLES, (self.rest_url, self.archive_url, self.stream_url), strict=True))
        return {name: url for name, url in named.items() if url}


def environment(home: Path, memory: AirflowMemory, services: Services, exchange: ExchangeAddress) -> dict[str, str]:
    """The whole environment of Airflow's processes."""
    inherited = {name: value for name, value in os.environ.items() if name not in _REPLACED}
    tuning = TUNING | METADATA_TUNING if services.airflow_database.url is not None else TUNING
    return (
        tuning | inherited | _python(inherited) | _airflow(home, memory, services, exchange) | exchange.as_environment()
    )


# Variables that would send our processes elsewhere.
_REPLACED = {"AIRFLOW_CONFIG", *EXCHANGE_VARIABLES}


def _python(inherited: Mapping[str, str]) -> dict[str, str]:
    return {
        # Airflow starts itself by name.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)]),
        "PYTHONPATH": os.pathsep.join(
            [str(CHECKOUT / "plugins"), *filter(None, inherited.get("PYTHONPATH", "").split(os.pathsep))]
        ),
        "PYTHONUNBUFFERED": "1",
        # Tasks talk to the API server on loopback, which no proxy can reach for them.
        **{
            name: ",".join(filter(None, [inherited.get(name), "127.0.0.1", "localhost"]))
            for name in ("NO_PROXY", "no_proxy")
        },
    }


def _airflow(home: Path, memory: AirflowMemory, services: Services, exchange: ExchangeAddress) -> dict[str, str]:
    logs = home / "logs"
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(CHECKOUT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(CHECKOUT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        # Tasks are forked from the scheduler, which has imported what they need.
        "AIRFLOW__CORE__EXECUTE_TASKS_NEW_PYTHON_INTERPRETER": "False",
        "AIRFLOW__CORE__LAZY_LOAD_PLUGINS": "False",
        "AIRFLOW__CORE__FERNET_KEY": memory.fernet_key,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{memory.url}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{LOGIN}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": metadata_url(services),
        "AIRFLOW__API__PORT": str(memory.port),
        "AIRFLOW__API__SECRET_KEY": memory.secret_key,
        "AIRFLOW__API__INSTANCE_NAME": "Perpflow, simulated exchange" if exchange.simulated else "Perpflow",
        "AIRFLOW__API_AUTH__JWT_SECRET": memory.jwt_secret,
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(logs),
        "AIRFLOW__LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(logs / "dag_processor"),
        "PERPFLOW_REPORTS": str(home.parent / "reports"),
        "AIRFLOW_CONN_PERPFLOW_DB": services.database.url or "",
        "AIRFLOW_CONN_PERPFLOW_REDIS": services.redis.url or "",
    }


def metadata_url(services: Services) -> str:
    """SQLAlchemy's URL of Airflow's metadata: on our server, or where the caller has put it.

    Raises:
        ServiceError: the market database is external and nothing names a place for the metadata.
    """
    if services.airflow_database.url is not None:
        return services.airflow_database.url.replace("postgresql://", "postgresql+psycopg2://", 1)
    configured = os.environ.get("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN")
    if configured is None:
        raise ServiceError(
            "Airflow", "PERPFLOW_DATABASE_URL names an external server, and Airflow's metadata has no place",
            advice="set AIRFLOW__DATABASE__SQL_ALCHEMY_CONN to a database of its own, or unset PERPFLOW_DATABASE_URL",
        )  # fmt: skip
    return configured
