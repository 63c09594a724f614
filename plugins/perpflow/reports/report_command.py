"""`python -m perpflow report`: write a day's page and say where it is."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import typer

from perpflow.errors import BadConfiguration
from perpflow.reports.day import day_asked
from perpflow.reports.failed_expectations import write_data_docs
from perpflow.reports.writing import write_report
from perpflow.settings import Deployment


def write(deployment: Deployment, day: str | None, output: Path | None, *, with_data_docs: bool) -> None:
    """Write the page, and Data Docs if they are asked for; print the page's first line and where everything is.

    Raises:
        BadConfiguration: that is no day, or it can't be written there.
        StoreUnavailable: the database does not answer.
    """
    if output is not None and with_data_docs:
        raise BadConfiguration(
            "Data Docs are a folder of files, and --output names one file.", hint="Leave one of the two options out."
        )
    asked = day_asked(day, datetime.now(UTC))
    written = write_report(deployment, asked, output)
    typer.echo(f"{asked}: {written.headline}")
    typer.echo(f"{written.page}")
    if with_data_docs:
        docs = write_data_docs(deployment, asked)
        typer.echo(str(docs) if docs else "no load of that day has failed an expectation: no Data Docs")
