"""The check of audits: what they dispute, and whether they keep up with publishing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from perpflow.health.finding import Finding, Level, above
from perpflow.health.surroundings import Surroundings
from perpflow.monitoring import HealthSettings
from perpflow.store.database import one, query, session


async def audits(around: Surroundings) -> list[Finding]:
    """Open critical findings, and series that have been waiting for their audits for hours."""
    longest = timedelta(hours=around.limits.audits_hours.yellow)
    with session(around.deployment.database_url) as connection:
        found = one(connection, query("health_audits"), {"longest": longest})
    return [audits_finding(found, around.limits)]


def audits_finding(found: dict[str, Any], limits: HealthSettings) -> Finding:
    """Red where anything is disputed; yellow where published rows wait for too long, and red where for far too long."""
    if found["findings"]:
        cause = f"{found['findings']:,} critical findings are open, in {found['disputed']} series"
        cause += f" ({', '.join(found['audits'])}): verified_until ends before them"
        advice = "See `python -m perpflow audit` and the table audit_findings; load what is wrong again, then audit."
        return Finding(Level.RED, cause, advice)
    if found["waiting"]:
        cause = f"{found['waiting']} series wait for their audits, the first since {found['since']:%Y-%m-%d %H:%M} UTC"
        dags = ", ".join(f"audit_{dataset}" for dataset in found["datasets"])
        level = above(found["oldest"] / timedelta(hours=1), limits.audits_hours)
        return Finding(level, cause, f"Switch the DAGs {dags} on, or run `python -m perpflow audit`.")
    return Finding(Level.GREEN, "no critical finding is open, and nothing waits for its audit")
