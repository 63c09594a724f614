"""Reports inside Airflow's UI: an app of the API server that gives who is logged in the files of the reports' folder.

Airflow mounts a plugin's app without a guard of its own, so that every route here asks for the login itself.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

from airflow.api_fastapi.auth.managers.models.resource_details import AccessView
from airflow.api_fastapi.core_api.security import requires_access_view
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import FileResponse, HTMLResponse

from perpflow.reports.folder import DATA_DOCS, INDEX, page_name, reports_folder

#: Pages have neither scripts nor anything from elsewhere; whatever names of symbols hold, no browser runs it.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-cache",
}
NOTHING_YET = (
    "<!DOCTYPE html><title>Market data quality</title><p>No day has been reported on yet: switch the DAG "
    "<code>quality_report</code> on, or trigger it."
)


def app() -> FastAPI:
    """The app: the list of days, a day's page, Data Docs. No token: 401; one without the right to see the UI: 403."""
    guard = [Depends(requires_access_view(AccessView.WEBSITE))]
    made = FastAPI(title="Market data quality", docs_url=None, redoc_url=None, openapi_url=None, dependencies=guard)

    @made.get("/", response_model=None)
    @made.get(f"/{INDEX}", response_model=None)
    def days() -> HTMLResponse | FileResponse:
        index = reports_folder() / INDEX
        return _file(index) if index.is_file() else HTMLResponse(NOTHING_YET, headers=HEADERS)

    @made.get("/quality_{day}.html", response_model=None)
    def page(day: date) -> FileResponse:
        return _file(reports_folder() / page_name(day))

    @made.get(f"/{DATA_DOCS}/{{path:path}}", response_model=None)
    def data_docs(path: str) -> FileResponse:
        folder = (reports_folder() / DATA_DOCS).resolve()
        try:
            asked = (folder / path).resolve()
        except ValueError:
            # A name with a zero byte, which no file can have.
            raise HTTPException(404) from None
        # Whatever dots, slashes and links the path has: below the folder, or nowhere.
        if not asked.is_relative_to(folder) or asked.suffix != ".html":
            raise HTTPException(404)
        return _file(asked)

    return made


def _file(path: Path) -> FileResponse:
    try:
        is_there = path.is_file()
    except OSError:
        # A name that is too long for a file's.
        is_there = False
    if not is_there:
        raise HTTPException(404)
    return FileResponse(path, media_type="text/html; charset=utf-8", headers=HEADERS)
