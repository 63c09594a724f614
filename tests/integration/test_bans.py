"""A ban ends a command's patience for a while, not its work: nothing is asked meanwhile, then it goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yaml

from perpflow.settings import COLLECTION_VARIABLE
from perpflow.store.database import session
from simulator.process import Handle, running
from tests.loading import rows

ROOT = Path(__file__).resolve().parents[2]


BACKFILL = [sys.executable, "-m", "perpflow", "backfill", "--datasets", "funding_rate", "--symbols", "SOL/USDT"]
TWO_DAYS = [*BACKFILL, "--start", "2026-09-10", "--end", "2026-09-12"]


def environment(exchange: Handle, database_url: str, redis_url: str, collection: Path) -> dict[str, str]:
    collection.write_text(yaml.safe_dump({"exchange": {"attempts": 2}}))
    return os.environ | {
        "PYTHONPATH": str(ROOT / "plugins"),
        "PERPFLOW_DATABASE_URL": database_url,
        "PERPFLOW_REDIS_URL": redis_url,
        "PERPFLOW_REST_URL": exchange.url,
        "PERPFLOW_ARCHIVE_URL": exchange.url,
        COLLECTION_VARIABLE: str(collection),
    }


def test_a_command_waits_for_the_end_of_a_ban_and_asks_nothing_before(
    empty_database_url: str, redis_url: str, tmp_path: Path
) -> None:
    with running() as exchange:
        exchange.add_fault(
            "status", code=418, match="/fundingRate", times=1, headers={"Retry-After": "3"}, body="banned"
        )
        ours = environment(exchange, empty_database_url, redis_url, tmp_path / "collection.yaml")
        done = subprocess.run(TWO_DAYS, env=ours, capture_output=True, text=True, check=False)
        asked = exchange.requests()["paths"]
    assert done.returncode == 0, done.stderr
    assert "The exchange has banned this address; going on in" in done.stderr
    assert "great_expectations" not in done.stderr
    with session(empty_database_url) as connection:
        assert rows(connection, "SELECT count(*) FROM funding_rate") == [(6,)]
    assert asked["/fapi/v1/fundingRate"] >= 2


def test_a_ban_that_lasts_for_days_is_an_error_that_says_so(
    empty_database_url: str, redis_url: str, tmp_path: Path
) -> None:
    with running() as exchange:
        exchange.add_fault("status", code=418, match="/fundingRate", headers={"Retry-After": "259200"}, body="no")
        ours = environment(exchange, empty_database_url, redis_url, tmp_path / "collection.yaml")
        first = subprocess.run(TWO_DAYS, env=ours, capture_output=True, text=True, check=False)
        asked = exchange.requests()["total"]
        second = subprocess.run(TWO_DAYS, env=ours, capture_output=True, text=True, check=False)
        asked_again = exchange.requests()["total"]
    assert (first.returncode, second.returncode) == (1, 1)
    assert "HTTP 418" in first.stderr
    # The second command is another process, and knows of the ban all the same.
    assert "has banned this address for another 2" in second.stderr
    assert "nothing was sent" in second.stderr
    assert asked_again == asked
