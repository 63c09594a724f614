"""The check of expectation suites: whether each can be read, without which its dataset is not loaded."""

from __future__ import annotations

from dataclasses import replace

from perpflow.health.finding import Finding, Level
from perpflow.health.surroundings import Surroundings
from perpflow.quality.suites import broken_suites


async def suites(_around: Surroundings) -> list[Finding]:
    """A finding for each suite that is missing or broken, by its dataset."""
    broken = [replace(Finding.of_error(error), subject=name) for name, error in broken_suites().items()]
    return broken or [Finding(Level.GREEN, "every dataset's can be read")]
