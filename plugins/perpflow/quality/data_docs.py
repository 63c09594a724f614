"""What batches have failed, as Great Expectations' Data Docs: a page for each, made of what the load log keeps.

The staged rows are gone by then, and nothing is checked again: the log has every finding of the gate, with counts and
samples, and what it does not name of the suite as it is now has passed. So an expectation that was added since stands
there as passed, and one that is gone since only where it failed. The library's pages ask eight hosts for styles and
scripts; ours have a style of their own instead, and ask nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

from perpflow.datasets import TABLES
from perpflow.include import include_path
from perpflow.quality.expectation_types import QUERY_TYPE
from perpflow.quality.library import great_expectations
from perpflow.quality.suites import Expectation, load_suite
from perpflow.windows import Window

SITE = "perpflow"


@dataclass(frozen=True, slots=True)
class FailedBatch:
    """A batch of the load log that has failed: `findings` are its entry's, as `Finding.to_json` has them."""

    number: int
    dataset: str
    label: str
    window: Window
    published_at: datetime
    staged: int
    findings: tuple[dict[str, Any], ...]

    @property
    def name(self) -> str:
        """What the page is called: whose rows, and of which time."""
        return f"{self.label}, {self.window.start:%Y-%m-%d %H:%M} to {self.window.end:%Y-%m-%d %H:%M}"

    @property
    def suite(self) -> str:
        """What its suite is called."""
        return f"{TABLES[self.dataset].title} ({self.dataset})"


def render(folder: Path, batches: Iterable[FailedBatch]) -> list[tuple[FailedBatch, Path]]:
    """Render each batch's page into a folder that is empty; returns where each is, inside the folder.

    Raises:
        BadSuite: the suite is missing or broken.
    """
    with great_expectations() as gx:
        context, keys = _context(gx, folder), []
        for batch in batches:
            key, result = _result(gx, batch)
            context.validation_results_store.set(key, result)
            keys.append((batch, key))
        context.build_data_docs(build_index=False)
    warned = {str(batch.number) for batch, _ in keys if all(f["severity"] == "warning" for f in batch.findings)}
    for page in folder.rglob("*.html"):
        text = self_contained(page.read_text(encoding="utf-8"))
        page.write_text(_FAILED.sub(_ONLY_WARNED, text) if page.stem in warned else text, encoding="utf-8")
    return [(batch, Path("validations", *key.to_tuple()).with_name(f"{batch.number}.html")) for batch, key in keys]


def _context(gx: Any, folder: Path) -> Any:
    """The library's surroundings in memory, with a site of pages in that folder."""
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    for name in list(context.get_site_names()):
        context.delete_data_docs_site(name)
    # Without the suites' own pages: the files say it better. And without the library's list, which is made by scripts.
    site = {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder)},
        "site_section_builders": {"expectations": "None", "profiling": "None"},
    }
    context.add_data_docs_site(SITE, site)
    return context


def _result(gx: Any, batch: FailedBatch) -> tuple[Any, Any]:
    """The batch's key and its results, as the library would have written them."""
    from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult
    from great_expectations.core.run_identifier import RunIdentifier
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )

    results = [_one(expectation, finding, batch) for expectation, finding in judged(batch)]
    failed = len(batch.findings)
    statistics = {
        "evaluated_expectations": len(results),
        "successful_expectations": len(results) - failed,
        "unsuccessful_expectations": failed,
        "success_percent": 100 * (len(results) - failed) / len(results),
    }
    run = RunIdentifier(run_name=_as_file_name(batch.name), run_time=batch.published_at)
    meta = {"run_id": run, "great_expectations_version": gx.__version__}
    result = ExpectationSuiteValidationResult(
        success=not failed,
        results=results,
        suite_name=batch.suite,
        statistics=statistics,
        meta=meta,
    )
    suite = ExpectationSuiteIdentifier(_as_file_name(batch.suite))
    return ValidationResultIdentifier(suite, run, str(batch.number)), result


def judged(batch: FailedBatch) -> Iterator[tuple[Expectation, dict[str, Any] | None]]:
    """What was expected of a batch, each with what was found against it; None where it passed.

    Those of the suite as it is now, then those that failed and that the suite has no more: renamed, or taken out since.
    """
    found = {finding["expectation"]: finding for finding in batch.findings}
    for expectation in load_suite(batch.dataset).expectations:
        yield expectation, found.pop(expectation.name, None)
    for name, finding in found.items():
        columns = tuple(finding["columns"].split(", "))
        severity, rule, reason = finding["severity"], finding["rule"], finding["reason"]
        # The library's only type that asks for no column; what it was made of nobody knows any more.
        arguments = {"unexpected_rows_query": "SELECT FROM {batch}"}
        yield Expectation(name, QUERY_TYPE, arguments, severity, rule, columns, reason), finding


def _one(expectation: Expectation, finding: dict[str, Any] | None, batch: FailedBatch) -> Any:
    """The library's result of one expectation, with the finding's count and samples where there is one."""
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    failing = int(finding["failing"]) if finding else 0
    return ExpectationValidationResult(
        success=finding is None,
        expectation_config=ExpectationConfiguration(
            type=expectation.type,
            kwargs=expectation.kwargs,
            meta={"name": expectation.name},
            description=(_WARNED if finding and finding["severity"] == "warning" else "")
            + _as_text(described(expectation)),
            severity=expectation.severity,
        ),
        result={
            "element_count": batch.staged,
            "unexpected_count": failing,
            # The library refuses more than all.
            "unexpected_percent": min(100 * failing / batch.staged, 100.0) if batch.staged else 0.0,
            "partial_unexpected_list": [_as_text(row) for row in finding["sample"]] if finding else [],
        },
        exception_info={"raised_exception": False, "exception_message": None, "exception_traceback": None},
        meta={},
    )


#: The library's pages know nothing of severities, and the style gives this one its mark.
_WARNED = '<span class="warned">Warning, published all the same.</span> '
#: The same of a batch of which nothing was withheld: what stands behind the mark on top.
_FAILED = re.compile(r"(?<=</i>) Failed\b")
_ONLY_WARNED = ' <span class="warned">Warnings alone, published all the same</span>'


def described(expectation: Expectation) -> str:
    """An expectation in words: what it asks for, of which columns, and the suite's why."""
    words = expectation.name if expectation.type == QUERY_TYPE else expectation.type.removeprefix("expect_")
    return f"{words.replace('_', ' ').capitalize()} ({', '.join(expectation.columns)}): {expectation.reason}"


def _as_text(text: str) -> str:
    """Text for the library's templates, which escape nothing and read $name as a place to fill in."""
    return escape(text).replace("$", "&#36;")


def _as_file_name(name: str) -> str:
    """Names become folders: without what paths, addresses or markup would read otherwise."""
    return re.sub(r"[^\w ,.()#-]", "-", name)


#: Of the library's pages what asks other hosts, runs, or leads to what is not there.
_LEFT_OUT = (
    r"<script\b.*?</script>",
    r"<style\b.*?</style>",
    r"<footer\b.*?</footer>",
    r"<(?:link|img)\b[^>]*>",
    r"\son\w+=\"[^\"]*\"",
    r"Data asset: None<br>",
)
_SUITE_LINK = re.compile(r'<a href="[^"]*/expectations/[^"]*"[^>]*>(.*?)</a>', re.DOTALL)
#: What their scripts did: the page's style hides what has passed while this is ticked.
_FAILED_ONLY = '<label class="only"><input type="checkbox" id="failed-only" checked> Failed only</label>'


def self_contained(page: str) -> str:
    """A page of the library that asks no other host and runs nothing: without its scripts and styles, with ours."""
    for pattern in _LEFT_OUT:
        page = re.sub(pattern, "", page, flags=re.DOTALL)
    page = _SUITE_LINK.sub(r"\1", page)
    style = "".join(
        (include_path() / "reports" / name).read_text(encoding="utf-8") for name in ("style.css", "data_docs.css")
    )
    page = page.replace("<body>", f"<body>{_FAILED_ONLY}", 1)
    return page.replace("</head>", f"<style>{style}</style></head>", 1)
