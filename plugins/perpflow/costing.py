"""What windows cost of the exchange's budgets, request by request as `fetching` sends them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta

from perpflow.exchange.rest import cut, request_weight
from perpflow.fetching import bridged
from perpflow.specs import LoadedSpec
from perpflow.windows import Window

#: Funding settles every 8 hours as a rule; where it does so more often, there are more rows than counted here.
USUAL_INTERVAL = timedelta(hours=8)


def requests_for(spec: LoadedSpec, series: str, windows: Iterable[Window]) -> Iterator[tuple[int, int]]:
    """Rows asked for and units of the budget of each request that REST is asked for the windows."""
    source, grid = spec.rest_for(series), spec.timeframe_of(series)
    for span, _ in bridged(list(windows), grid, source.page_rows):
        if grid is not None:
            yield from ((rows, request_weight(source, rows)) for _, rows in cut(source, span, grid))
            continue
        rows = span.length // USUAL_INTERVAL
        for _ in range(rows // source.page_rows):
            yield source.page_rows, source.weight
        yield rows % source.page_rows, source.weight


def lead_in_requests(spec: LoadedSpec, windows: Iterable[Window]) -> int:
    """Requests for the rows before each window that columns are derived from."""
    return 0 if spec.lead_in is None else sum(1 for _ in windows)


def page_cost(spec: LoadedSpec, series: str, rows: int | None = None) -> int:
    """Units of the series' budget that one page takes, of so many rows or a full one, with what leads in to it."""
    source = spec.rest_for(series)
    return request_weight(source, rows or source.page_rows) + (source.weight if spec.lead_in else 0)


def cost(spec: LoadedSpec, series: str, windows: list[Window]) -> int:
    """Units of the series' budget that REST takes for all of the windows: what archive files hold of them is less."""
    weights = sum(weight for _, weight in requests_for(spec, series, windows))
    return weights + lead_in_requests(spec, windows) * spec.rest_for(series).weight
