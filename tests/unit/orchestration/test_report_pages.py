"""The app of the reports' pages with Airflow's own simple auth manager: who may read, and names that no file has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from perpflow.reports.folder import INDEX, write

#: Of a library that Airflow imports.
pytestmark = pytest.mark.filterwarnings("ignore:Using `httpx` with `starlette")

Ask = Callable[..., int]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ask:
    """Asks the app for a path, as somebody of a role, or as nobody; returns the status."""
    from airflow.api_fastapi.app import create_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from airflow.api_fastapi.core_api.security import get_user

    from perpflow.orchestration.report_pages import app

    monkeypatch.setenv("PERPFLOW_REPORTS", str(tmp_path))
    write(tmp_path / INDEX, "<!DOCTYPE html>the list")
    create_auth_manager()

    async def answer(client: httpx.AsyncClient, path: str) -> int:
        async with client:
            return (await client.get(path)).status_code

    def ask(path: str, *role: str | None) -> int:
        served = app()
        if role:
            # Logged in; which takes Airflow's database to find out.
            served.dependency_overrides[get_user] = lambda: SimpleAuthManagerUser(username="somebody", role=role[0])
        client = httpx.AsyncClient(transport=httpx.ASGITransport(served), base_url="http://airflow")
        return asyncio.run(answer(client, path))

    return ask


@pytest.mark.parametrize(
    ("path", "status"),
    [("/", 200), ("/index.html", 200), ("/quality_2026-11-26.html", 404), ("/data_docs/index.html", 404)],
)
def test_who_may_not_see_the_ui_sees_no_page_either(ask: Ask, path: str, status: int) -> None:
    assert (ask(path), ask(path, None), ask(path, "VIEWER")) == (401, 403, status)


@pytest.mark.parametrize(
    "name", ["%00.html", "a%00b.html", "a" * 300 + ".html", f"{'a' * 300}/b.html", "a/" * 3000 + "b.html"]
)
def test_a_name_that_no_file_can_have_is_not_found(ask: Ask, name: str) -> None:
    assert ask(f"/data_docs/{name}", "VIEWER") == 404
