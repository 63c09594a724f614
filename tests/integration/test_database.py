"""Sessions with a real server: how they are set up, and what their failures are called."""

from __future__ import annotations

from psycopg import sql
from psycopg.conninfo import make_conninfo

from perpflow.store.database import Connection, session


def shown(connection: Connection, *settings: str) -> list[str]:
    """The settings in force."""
    rows = [connection.execute(sql.SQL("SHOW {}").format(sql.Identifier(name))).fetchone() for name in settings]
    return [str(value) for row in rows if row is not None for value in row.values()]


# --- how they are set up


def test_a_session_speaks_utc_under_its_own_name(database_url: str) -> None:
    with session(database_url) as connection:
        assert shown(connection, "TimeZone", "enable_nestloop", "application_name") == ["UTC", "off", "perpflow"]


def test_an_address_may_add_settings_but_not_change_ours(database_url: str) -> None:
    options = "-c statement_timeout=5min -c TimeZone=Asia/Tokyo"
    url = make_conninfo(database_url, options=options, application_name="desk")
    with session(url) as connection:
        assert shown(connection, "statement_timeout", "TimeZone") == ["5min", "UTC"]
        assert shown(connection, "enable_nestloop", "application_name") == ["off", "desk"]
