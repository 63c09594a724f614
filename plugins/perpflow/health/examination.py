"""All checks, and running them one after another: each says what it found, or what it could not find out and why."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import psycopg
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from perpflow.errors import PerpflowError
from perpflow.health import audits, data, exchange, services, storage, stream, suites
from perpflow.health.finding import Finding, Level
from perpflow.health.surroundings import Surroundings, surroundings
from perpflow.settings import Deployment
from perpflow.store.cache import not_let_in

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Check:
    """A check by name; `needs` are checks without which it can't tell anything."""

    name: str
    find: Callable[[Surroundings], Awaitable[list[Finding]]]
    needs: tuple[str, ...] = ()


CHECKS = (
    Check("database", services.database),
    Check("schema", services.schema, needs=("database",)),
    Check("redis", services.redis_server),
    Check("disk", storage.disk),
    Check("suites", suites.suites),
    Check("exchange", exchange.rest_api),
    Check("archive", exchange.archive),
    Check("budget", exchange.budget, needs=("redis",)),
    Check("bans", exchange.bans, needs=("redis",)),
    Check("circuits", exchange.circuits, needs=("redis",)),
    Check("errors", exchange.errors, needs=("redis",)),
    Check("freshness", data.freshness, needs=("schema", "exchange")),
    Check("holes", data.holes, needs=("schema", "exchange")),
    Check("withheld", data.withheld, needs=("schema",)),
    Check("quarantine", data.quarantine, needs=("schema",)),
    Check("staging", storage.staging, needs=("schema",)),
    Check("audits", audits.audits, needs=("schema",)),
    Check("stream", stream.stream, needs=("redis",)),
    Check("liquidations", stream.liquidations, needs=("schema", "redis")),
    Check("listening", stream.listening, needs=("schema", "redis", "exchange")),
)


def examine(deployment: Deployment) -> list[Finding]:
    """What every check finds now.

    Raises:
        BadConfiguration: an address of the deployment is none.
    """
    return asyncio.run(_examine(deployment))


async def _examine(deployment: Deployment) -> list[Finding]:
    findings: list[Finding] = []
    async with surroundings(deployment) as around:
        for check in CHECKS:
            blocked = {finding.check for finding in findings if finding.blocks}
            lacking = [name for name in check.needs if name in blocked]
            found = [_unknown(lacking)] if lacking else await found_by(check, around)
            findings += [replace(finding, check=check.name) for finding in found]
    return findings


async def found_by(check: Check, around: Surroundings) -> list[Finding]:
    """What a check finds, or why it could not look: whatever is raised is a finding."""
    try:
        return await check.find(around)
    except PerpflowError as error:
        return [Finding.of_error(error)]
    except (AuthenticationError, NoPermissionError) as error:
        return [Finding.of_error(not_let_in(error))]
    except psycopg.Error as error:
        said = " ".join((error.diag.message_primary or str(error)).split())
        advice = "Look at the rights of the database's user, and at the server's log."
        return [Finding(Level.RED, f"the market database refuses: {said}", advice, blocks=True)]
    except RedisError as error:
        advice = "Check `python -m perpflow services status`, or the connection perpflow_redis."
        what = "refuses" if isinstance(error, ResponseError) else "does not answer"
        return [Finding(Level.RED, f"Redis {what}: {error}".rstrip("."), advice, blocks=True)]
    except Exception as error:  # whatever becomes of one check, the others are looked at, and somebody is told
        log.warning("the check %s ended with an error", check.name, exc_info=True)
        cause = f"the check {check.name} ended with {type(error).__name__}: {error}".rstrip(" :.")
        return [Finding(Level.RED, cause, "The log has where. If it comes again, report it.", blocks=True)]


def _unknown(lacking: list[str]) -> Finding:
    return Finding(Level.YELLOW, f"not known: see {', '.join(lacking)}", blocks=True, is_known=False)
