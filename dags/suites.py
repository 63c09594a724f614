"""The import error of Airflow's DAGs whose expectation suite is broken. No DAG is made here.

Airflow has import errors of files alone, and files here make the DAGs of several datasets. So they leave out those
whose suite cannot be loaded, and this one says why. What has nothing to do with it goes on; two datasets that one file
of the archive feeds are loaded together or not at all, and audits that go by the suite's limits fail.

The parser looks only at files that speak of Airflow and of a DAG, which these words are for.
"""

from __future__ import annotations

from perpflow.errors import BadSuite
from perpflow.quality.suites import broken_suites

if found := broken_suites():
    raise BadSuite(
        "\n".join(map(str, found.values())),
        hint=f"Until then nothing of {', '.join(found)} is published: its DAGs ingest_* and history_* are missing, and"
        " whatever else would load it fails.",
    )
