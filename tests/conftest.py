"""What tests share: embedded TimescaleDB and Redis, a database for each module, a simulated exchange.

The servers live in a temporary state folder of the session and are discarded at its end. One database is migrated; the
others are copies of it, which takes a moment each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from hypothesis import settings
from psycopg import sql

from perpflow import embedded
from perpflow.embedded.state import Services
from perpflow.store.database import session
from perpflow.store.migrations import migrate
from simulator.process import Handle, running

# Examples take as long as the machine lets them; a failure prints how to repeat it.
settings.register_profile("perpflow", deadline=None, print_blob=True, database=None)
settings.load_profile("perpflow")

_numbers = count(1)


@pytest.fixture(scope="session", autouse=True)
def _no_outside_services() -> Iterator[None]:
    """Tests never touch the services that the environment of whoever runs them names."""
    names = ("DATABASE", "REDIS", "REST", "ARCHIVE", "STREAM")
    with pytest.MonkeyPatch.context() as patch:
        for name in (*(f"PERPFLOW_{name}_URL" for name in names), "PERPFLOW_HOME", "PERPFLOW_COLLECTION"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory, _no_outside_services: None) -> Iterator[Services]:
    """TimescaleDB and Redis for the session; their programs come from the checkout's cache."""
    state = tmp_path_factory.mktemp("services")
    try:
        yield embedded.start(state)
    finally:
        embedded.discard(state)


@pytest.fixture(scope="session")
def redis_url(services: Services) -> str:
    """The session's Redis."""
    assert services.redis.url
    return services.redis.url


def _database(url: str, name: str) -> str:
    """The same server's database of that name."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@contextmanager
def _created(admin_url: str, template: str | None = None) -> Iterator[str]:
    """A database of its own, empty or a copy; dropped afterwards."""
    name = f"test_{next(_numbers)}"
    copied = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
        sql.Identifier(name), sql.Identifier(template or "template0")
    )
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(copied)
        try:
            yield _database(admin_url, name)
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def _admin_url(services: Services) -> str:
    assert services.database.url
    return _database(services.database.url, "postgres")


@pytest.fixture(scope="session")
def unmigrated_url(services: Services, _admin_url: str) -> Callable[[], AbstractContextManager[str]]:
    """Makes databases without tables, with TimescaleDB's extension where the server has it: `with unmigrated_url()`."""

    @contextmanager
    def make() -> Iterator[str]:
        with _created(_admin_url) as url:
            if services.database.timescaledb:
                with psycopg.connect(url, autocommit=True) as connection:
                    connection.execute("CREATE EXTENSION timescaledb")
            yield url

    return make


@pytest.fixture(scope="session")
def _template(unmigrated_url: Callable[[], AbstractContextManager[str]]) -> Iterator[str]:
    with unmigrated_url() as url:
        with session(url) as connection:
            migrate(connection)
        yield urlsplit(url).path.removeprefix("/")


@pytest.fixture(scope="module")
def database_url(_admin_url: str, _template: str) -> Iterator[str]:
    """A migrated database for the module."""
    with _created(_admin_url, _template) as url:
        yield url


@pytest.fixture
def empty_database_url(_admin_url: str, _template: str) -> Iterator[str]:
    """A migrated database for one test, without any row."""
    with _created(_admin_url, _template) as url:
        yield url


@pytest.fixture(scope="module")
def exchange() -> Iterator[Handle]:
    """A simulated exchange for the module, its clock frozen."""
    with running() as handle:
        yield handle
