"""Counters: every exporter gets each count once, and again what it could not deliver."""

from __future__ import annotations

from perpflow.counters import Counts


def test_each_exporter_takes_what_is_new_since_it_took_last() -> None:
    counts = Counts()
    counts.count("weight", 2)
    assert counts.take("redis") == {"weight": 2}
    counts.count("weight", 3)
    counts.count("retries")
    assert counts.take("redis") == {"weight": 3, "retries": 1}
    assert counts.take("airflow") == {"weight": 5, "retries": 1}
    assert counts.take("redis") == {}


def test_what_could_not_be_delivered_comes_with_the_next_take() -> None:
    counts = Counts()
    counts.count("weight", 2)
    taken = counts.take("redis")
    counts.count("weight", 1)
    counts.give_back("redis", taken)
    assert counts.take("redis") == {"weight": 3}
    assert counts.take("redis") == {}
