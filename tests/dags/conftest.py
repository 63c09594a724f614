"""One real Airflow for all tests of DAG runs: it takes half a minute to start."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.dags.otlp_collector import Collector, collecting
from tests.running_airflow import Airflow, running_airflow


@pytest.fixture(scope="session")
def metrics() -> Iterator[Collector]:
    """Where this Airflow reports its metrics to."""
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory, metrics: Collector) -> Iterator[Airflow]:
    """A running Airflow."""
    with ExitStack() as stack:
        # For its processes alone: other tests start programs too.
        with pytest.MonkeyPatch.context() as patch:
            for name, value in metrics.settings.items():
                patch.setenv(name, value)
            started = stack.enter_context(running_airflow(tmp_path_factory.mktemp("airflow")))
        yield started
