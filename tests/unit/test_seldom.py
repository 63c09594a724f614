"""Repeated warnings are not repeated, and not forgotten."""

from __future__ import annotations

import logging

import pytest

from perpflow.seldom import Seldom

LOG = logging.getLogger("perpflow.test_seldom")


def test_a_repeated_warning_is_said_once_whatever_its_arguments(caplog: pytest.LogCaptureFixture) -> None:
    seldom = Seldom(LOG)
    for number in range(3):
        seldom.warning("bad: %d", number)
    seldom.warning("worse")
    seldom.warning("bad: %d", 4, problem="another")
    seldom.warning("as bad", problem="another")
    assert caplog.messages == ["bad: 0", "worse", "bad: 4"]


def test_the_next_one_tells_of_those_that_were_not_said(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter((100.0, 101.0, 102.0, 111.0, 121.0))
    monkeypatch.setattr("perpflow.seldom.time.monotonic", lambda: next(now))
    seldom = Seldom(LOG, every_s=10)
    for number in range(5):
        seldom.warning("bad: %d", number)
    assert caplog.messages == ["bad: 0", "bad: 3 (2 more like this one since the last)", "bad: 4"]
