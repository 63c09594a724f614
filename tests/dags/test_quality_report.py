"""quality_report in a real Airflow: a run writes the page and links to it, and only who is logged in may read it."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from perpflow.orchestration.quality_report import UI_ROUTE, URL_PREFIX
from tests.running_airflow import Airflow

pytestmark = pytest.mark.timeout(600)

DAG = "quality_report"
TODAY = datetime.now(UTC).date().isoformat()
PAGE = f"quality_{TODAY}.html"
ROUTES = ("/", "/index.html", f"/{PAGE}", "/data_docs/index.html", "/data_docs/nothing.html", "/openapi.json", "/docs")
#: From the folder's neighbours, which hold Airflow's secrets: plain, encoded, encoded twice.
OUTSIDE = (
    "/data_docs/../../airflow/airflow.json",
    "/data_docs/%2e%2e/%2e%2e/airflow/airflow.json",
    "/data_docs/..%2f..%2fairflow%2fairflow.json",
    "/data_docs/%252e%252e%252f%252e%252e%252fairflow%252fairflow.json",
    "/data_docs//etc/passwd",
    "/data_docs/%2fetc%2fpasswd",
    "/data_docs/outside.html",
    "/quality_..%2fairflow%2fairflow.json.html",
    "/airflow.json",
)


@pytest.fixture(scope="module")
def folder(airflow: Airflow) -> Path:
    return Path(airflow.environment["PERPFLOW_REPORTS"])


@pytest.fixture(scope="module")
def run(airflow: Airflow) -> str:
    """A run by form, for today, with Data Docs."""
    airflow.client.pause(DAG, paused=False)
    run, state = airflow.run(DAG, {"day": TODAY, "data_docs": True})
    assert state == "success"
    return run


def ask(airflow: Airflow, path: str, headers: dict[str, str]) -> tuple[int, str]:
    """An answer to the path as it stands: clients would put dots and slashes right."""
    with closing(HTTPConnection(urlsplit(airflow.stack.url).netloc, timeout=30)) as server:
        server.request("GET", f"{URL_PREFIX}{path}", headers=headers)
        with server.getresponse() as answer:
            return answer.status, answer.read().decode()


def token(airflow: Airflow) -> dict[str, str]:
    return {"Authorization": airflow.client._http.headers["Authorization"]}


def test_a_run_writes_the_day_s_page_and_its_last_line_says_where(airflow: Airflow, run: str, folder: Path) -> None:
    assert (folder / PAGE).read_text().startswith("<!DOCTYPE html>")
    (task,) = airflow.tasks(DAG, run)
    last = [line for line in airflow.client.log_tail(DAG, run, task, 40) if "The report:" in line][-1]
    assert str(folder / PAGE) in last
    assert airflow.client.returned(DAG, run, "write")["day"] == TODAY


def test_the_run_links_to_its_page(airflow: Airflow, run: str, folder: Path) -> None:
    links = airflow.client._call("GET", f"dags/{DAG}/dagRuns/{run}/taskInstances/write/links")["extra_links"]
    link = links["Quality report"]
    assert urlsplit(link).path == f"{URL_PREFIX}/{PAGE}"
    answer = httpx.get(airflow.stack.url + urlsplit(link).path, headers=token(airflow), trust_env=False)
    assert (answer.status_code, answer.text) == (200, (folder / PAGE).read_text())
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_the_list_of_days_is_under_browse(airflow: Airflow, run: str) -> None:
    assert run
    plugins: list[dict[str, Any]] = airflow.client._call("GET", "plugins")["plugins"]
    (view,) = (view for plugin in plugins if plugin["name"] == "perpflow" for view in plugin["external_views"])
    assert (view["name"], view["category"], view["url_route"]) == ("Market data quality", "browse", UI_ROUTE)
    status, text = ask(airflow, "/", token(airflow))
    assert status == 200
    assert f'href="{PAGE}"' in text


def test_the_ui_s_cookie_is_a_login_too(airflow: Airflow, run: str) -> None:
    assert run
    cookie = token(airflow)["Authorization"].removeprefix("Bearer ")
    assert ask(airflow, f"/{PAGE}", {"Cookie": f"_token={cookie}"})[0] == 200


@pytest.mark.parametrize("path", ROUTES + OUTSIDE)
def test_nobody_reads_anything_without_a_login(airflow: Airflow, run: str, path: str) -> None:
    assert run
    status, text = ask(airflow, path, {})
    assert status in (401, 404)
    assert "<html" not in text
    assert ask(airflow, path, {"Authorization": "Bearer forged"})[0] in (401, 403, 404)


@pytest.mark.parametrize("path", ROUTES[:3])
def test_without_a_token_the_answer_is_401(airflow: Airflow, run: str, path: str) -> None:
    assert run
    assert ask(airflow, path, {})[0] == 401


@pytest.mark.parametrize("path", OUTSIDE)
def test_no_path_leads_out_of_the_folder(airflow: Airflow, run: str, folder: Path, path: str) -> None:
    assert run
    link = folder / "data_docs" / "outside.html"
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to("/etc/passwd")
    status, text = ask(airflow, path, token(airflow))
    assert status in (404, 422)
    assert "jwt_secret" not in text
    assert "root:" not in text
