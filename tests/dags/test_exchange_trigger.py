"""The sensor's trigger as Airflow keeps it between scheduler and triggerer."""

from __future__ import annotations

from pkgutil import resolve_name

from perpflow.orchestration.exchange_sensor import ExchangeTrigger


def test_a_trigger_comes_out_of_its_serialisation_as_it_went_in() -> None:
    path, arguments = ExchangeTrigger(ask_every_s=2.5).serialize()
    again = resolve_name(path)(**arguments)
    assert type(again) is ExchangeTrigger
    assert again.ask_every_s == 2.5
    assert again.serialize() == (path, arguments)
    # No address and no password of anything.
    assert list(arguments) == ["ask_every_s"]
