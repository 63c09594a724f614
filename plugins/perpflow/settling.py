"""What of a series has settled: its points up to now that will not change any more."""

from __future__ import annotations

from datetime import datetime

from perpflow.specs import DatasetSpec
from perpflow.windows import Window


def settled(spec: DatasetSpec, series: str, start: datetime, end: datetime, now: datetime) -> Window | None:
    """The whole periods that begin in `[start, end)` and have settled by `now`, the exchange's clock.

    A week that begins before `end` belongs to the range even where it ends after it: batches are cut at months.
    """
    timeframe, latest = spec.timeframe_of(series), now - spec.settles_after
    if timeframe is not None:
        start, end, latest = timeframe.ceil(start), timeframe.ceil(end), timeframe.floor(latest)
    elif spec.settles_on is not None:
        # What settles is over in an instant: the last one that may have is itself within reach.
        hour = spec.settles_on
        start, end, latest = hour.ceil(start), hour.ceil(end), hour.after(hour.floor(latest))
    end = min(end, latest)
    return Window(start, end) if start < end else None
