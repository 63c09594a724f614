"""A clean month with all that the exchange is odd about: no audit finds anything, and all of it is verified."""

from __future__ import annotations

from perpflow import auditing
from perpflow.datasets import DATASETS
from simulator.process import Handle
from tests.loading import deployment_of, load, request

#: Doubled, unsorted and off-grid metrics, missing tails and blanks, candles that no source has.
START, END = "2026-09-08", "2026-10-08"


def test_nothing_is_found_in_thirty_clean_days_with_their_quirks(empty_database_url: str, exchange: Handle) -> None:
    made = deployment_of(empty_database_url, exchange)
    load(made, request("clean", START, END))
    done = auditing.audit(made, tuple(DATASETS))
    state = auditing.state(made, tuple(DATASETS))
    assert (done.found, state.findings) == (0, ())
    assert {each.dataset for each in state.series} == set(DATASETS)
    assert [each.key for each in state.series if each.verified_until != each.covered_until] == []
