"""What to collect and where everything is: `include/collection.yaml` and the environment, validated.

A value that is not valid is one error that names key, value and what is allowed: a DAG import error in the UI, exit 2
on the command line.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from croniter import croniter  # type: ignore[import-untyped]
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from perpflow.contracts import COLLECTED_STATUSES, PERPETUAL_TYPES, STATUSES, Contract
from perpflow.datasets import LIQUIDATIONS, TABLES
from perpflow.errors import BadConfiguration
from perpflow.include import include_path
from perpflow.monitoring import AlertSettings, HealthSettings
from perpflow.proxies import is_proxy
from perpflow.quoting import named, quoted
from perpflow.sections import Cron, Section, Switchless, no_boolean
from perpflow.windows import TIMEFRAMES, parse_instant
from perpflow.yaml_file import read_mapping

#: `SOL/USDT`, `1000PEPE/USDT`, `ICP/USDT#SETTLED`; the exchange lists names in Chinese characters too.
SYMBOL_PATTERN = r"^[^\s/#a-z]+/[^\s/#a-z]+(#[A-Z0-9]+)?$"


def is_symbol(text: str) -> bool:
    """Whether the text is written like a unified symbol; whether the exchange lists it is another question."""
    # Printable: without control characters, and without halves of characters, which no database stores.
    return re.fullmatch(SYMBOL_PATTERN, text) is not None and text.isprintable()


def _symbol(text: str) -> str:
    if not is_symbol(text):
        raise ValueError(f"{quoted(text)} is not a symbol; write base and quote in capitals, as in SOL/USDT")
    return text


def _instant(value: Any) -> datetime:
    """A UTC instant from text, or from a caller's date or datetime; naive times and the future are refused."""
    if isinstance(value, datetime):
        instant = value
        if instant.tzinfo is None:
            raise ValueError(f"{value} has no time zone; write {value:%Y-%m-%dT%H:%M:%S}Z for UTC")
    elif isinstance(value, date):
        instant = datetime(value.year, value.month, value.day, tzinfo=UTC)
    elif isinstance(value, str | int):
        instant = _parsed(str(value).strip())
    else:
        raise ValueError("not an instant; write one such as 2024-01-31, or 2024-01-31T12:00:00Z")
    if instant > datetime.now(UTC):
        raise ValueError(f"{instant.isoformat()} lies in the future; give a date that has passed")
    return instant.astimezone(UTC)


def _parsed(text: str) -> datetime:
    try:
        return parse_instant(text)
    except ValueError as error:
        raise ValueError(str(error).replace(repr(text), quoted(text))) from error


def _every_three_hours(text: str) -> str:
    fields, _ = croniter.expand(text)
    hours = list(range(24)) if fields[1] == ["*"] else fields[1]
    # From the last one of a day to the first of the next; a single one comes again after a day.
    longest = max((later - hour) % 24 or 24 for hour, later in pairwise([*hours, hours[0]]))
    if longest > 3 or any(field != ["*"] for field in fields[2:]):
        raise ValueError(
            "a stream ends after three hours, and this comes less often; write '0 * * * *', or '0 */3 * * *'"
        )
    return text


def _list_or_all(value: Any) -> Any:
    if value != "all" and not isinstance(value, list | tuple):
        raise ValueError("give a list such as [SOL/USDT], or all")
    if not value:
        raise ValueError("give at least one symbol, or all")
    return value


def _currencies(value: Any) -> tuple[str, ...]:
    """One quote currency, or a list of them."""
    quotes = tuple(value) if isinstance(value, list | tuple) else (value,)
    if not quotes:
        raise ValueError("give at least one quote currency, such as USDT")
    if not all(isinstance(quote, str) and re.fullmatch("[A-Z0-9]+", quote) for quote in quotes):
        raise ValueError("not a quote currency; write capitals and digits, as in USDT, or a list such as [USDT, USDC]")
    return quotes


def _some_of(allowed: tuple[str, ...], value: Any) -> Any:
    """A list of words that are all allowed."""
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"give a list of at least one of {', '.join(allowed)}")
    for word in value:
        if word not in allowed:
            raise ValueError(f"unknown: {quoted(word)}; allowed: {', '.join(allowed)}")
    return value


def _auto(value: Any) -> Any:
    return None if value == "auto" else value


#: Names another collection.yaml than the project's.
COLLECTION_VARIABLE = "PERPFLOW_COLLECTION"

Symbol = Annotated[str, AfterValidator(_symbol)]
Symbols = tuple[Symbol, ...] | Literal["all"]


class DatasetSettings(Section):
    """How one dataset is collected; what is left out is the dataset table's."""

    enabled: bool = True
    start: datetime | None = None
    schedule: Cron | None = None
    timeframes: tuple[str, ...] | None = None

    _start = field_validator("start", mode="before")(lambda value: None if value is None else _instant(value))

    @field_validator("timeframes")
    @classmethod
    def _known_timeframes(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value == ():
            raise ValueError(f"give at least one of {', '.join(TIMEFRAMES)}, or leave the key out")
        for timeframe in value or ():
            if timeframe not in TIMEFRAMES:
                raise ValueError(f"unknown timeframe {quoted(timeframe)}; allowed: {', '.join(TIMEFRAMES)}")
        return value


class StreamSettings(Section):
    """What `stream_market` listens to besides the mark prices of all contracts; no symbols means the collection's."""

    schedule: Annotated[Cron, AfterValidator(_every_three_hours)] = "0 * * * *"
    symbols: Symbols | None = None
    last_price: Literal["trades", "ticker", "none"] = "trades"
    liquidations: bool = True
    open_interest_every_s: float = Field(10, ge=0, le=3600)

    _symbols = field_validator("symbols", mode="before")(lambda value: None if value is None else _list_or_all(value))
    _number = field_validator("open_interest_every_s", mode="before")(no_boolean)

    @field_validator("last_price", mode="before")
    @classmethod
    def _word(cls, value: Any) -> Any:
        # `no` is close to `none`, and to YAML it is no word.
        if isinstance(value, bool):
            raise ValueError("yes and no mean nothing here; write trades, ticker or none")
        return value

    @field_validator("open_interest_every_s")
    @classmethod
    def _never_or_each_second(cls, value: float) -> float:
        if 0 < value < 1:
            raise ValueError("give 1 or more seconds, or 0 for never")
        return value


class ExchangeSettings(Switchless):
    """How politely and how eagerly the exchange is asked."""

    # With less, a page of candles costs more than a process without Redis may spend at all.
    rate_share: float = Field(0.5, ge=0.01, le=1)
    # With more, backfill is left nothing to go on with.
    live_reserve: float = Field(0.2, ge=0, le=0.9)
    egress: str = Field("default", min_length=1, pattern=r"^[\w.-]+$")
    processes: int = Field(8, ge=1, le=256)
    rest_concurrency: int = Field(4, ge=1, le=64)
    archive_concurrency: int = Field(8, ge=1, le=64)
    attempts: int = Field(5, ge=1, le=20)
    wrong_checksums: Literal["leave_out", "accept"] = "leave_out"
    # In less than a second a connection over TLS may not stand, nor a page of rows be sent.
    timeout_s: float = Field(30, ge=1, le=600)
    connect_timeout_s: float = Field(10, ge=1, le=600)
    proxy: str | None = None

    @property
    def accepts_wrong_checksums(self) -> bool:
        """Whether archive files are read whose checksum stays wrong."""
        return self.wrong_checksums == "accept"

    @field_validator("proxy")
    @classmethod
    def _proxy_address(cls, value: str | None) -> str | None:
        if value is not None and not is_proxy(value):
            raise ValueError("not the address of an HTTP proxy; write http://user:password@host:3128")
        return value


class PoolSettings(Switchless):
    """Slots of Airflow's pools: how many tasks of a kind run at once."""

    perpflow_rest: int = Field(4, ge=1, le=128)
    perpflow_archive: int = Field(4, ge=1, le=128)
    #: A stream and its successor.
    perpflow_stream: int = Field(2, ge=2, le=16)


class AirflowSettings(Switchless):
    """How Airflow runs the work."""

    pools: PoolSettings = PoolSettings()
    task_retries: int = Field(4, ge=0, le=100)


class Collection(Switchless):
    """collection.yaml, whole."""

    symbols: Symbols = ("SOL/USDT", "BTC/USDT", "ETH/USDT")
    quote: tuple[str, ...] = ("USDT",)
    contract_types: tuple[str, ...] = PERPETUAL_TYPES
    statuses: tuple[str, ...] = COLLECTED_STATUSES
    exclude: tuple[Symbol, ...] = ()
    start: datetime = datetime(2020, 1, 1, tzinfo=UTC)
    look_back_days: int = Field(2, ge=1, le=30)
    #: None: as many as `batches.symbols_per_task` finds fit.
    symbols_per_task: int | None = Field(None, ge=1, le=1000)
    # An Airflow task that is cleared while its batch is in the log is done already; afterwards it asks again in vain.
    # What a run under way has published must still be there when it reports: none takes a week.
    load_log_days: int = Field(30, ge=7, le=3650)
    datasets: dict[str, DatasetSettings] = Field(default_factory=dict)
    stream: StreamSettings = StreamSettings()
    exchange: ExchangeSettings = ExchangeSettings()
    airflow: AirflowSettings = AirflowSettings()
    health: HealthSettings = HealthSettings()
    alerts: tuple[AlertSettings, ...] = ()

    _start = field_validator("start", mode="before")(_instant)
    _symbols = field_validator("symbols", mode="before")(_list_or_all)
    _quote = field_validator("quote", mode="before")(_currencies)
    _types = field_validator("contract_types", mode="before")(partial(_some_of, PERPETUAL_TYPES))
    _statuses = field_validator("statuses", mode="before")(partial(_some_of, STATUSES))
    _per_task = field_validator("symbols_per_task", mode="before")(_auto)

    @field_validator("datasets", mode="before")
    @classmethod
    def _known_datasets(cls, value: Any) -> Any:
        for name in value if isinstance(value, Mapping) else ():
            if name not in TABLES:
                raise ValueError(f"unknown dataset {quoted(name)}; allowed: {', '.join(TABLES)}")
        return value

    @model_validator(mode="after")
    def _timeframes_belong_to_candles(self) -> Self:
        for name, settings in self.datasets.items():
            if settings.timeframes is not None and not TABLES[name].series_in_key:
                candles = ", ".join(spec.name for spec in TABLES.values() if spec.series_in_key)
                raise ValueError(f"datasets.{name}.timeframes: {name} has no timeframes; candles have: {candles}")
        return self

    @field_validator("alerts", mode="before")
    @classmethod
    def _nobody_where_all_is_commented_out(cls, value: Any) -> Any:
        return () if value is None else value

    @field_validator("alerts")
    @classmethod
    def _each_is_told_once(cls, value: tuple[AlertSettings, ...]) -> tuple[AlertSettings, ...]:
        names = [alert.name for alert in value]
        if len(set(names)) < len(names):
            raise ValueError("the same kind and connection is given twice; give it once, with the lower level")
        return value

    @model_validator(mode="after")
    def _nobody_can_ask_for_liquidations(self) -> Self:
        given = self.dataset(LIQUIDATIONS.name)
        if given.start is not None:
            raise ValueError("datasets.liquidations.start: there is no history of them to ask for; leave it out")
        if not given.enabled:
            raise ValueError("datasets.liquidations.enabled: say stream.liquidations: false to listen to none")
        return self

    def dataset(self, name: str) -> DatasetSettings:
        """A dataset's settings, defaults where the file says nothing."""
        return self.datasets.get(name, DatasetSettings())

    def schedule(self, name: str) -> str:
        """The cron expression of `ingest_<name>`."""
        return self.dataset(name).schedule or TABLES[name].schedule

    def series(self, name: str) -> tuple[str, ...]:
        """The ledger's series of a dataset: for candles the configured timeframes."""
        return self.dataset(name).timeframes or TABLES[name].series

    def start_of(self, name: str) -> datetime:
        """The first instant that is wanted of a dataset."""
        return self.dataset(name).start or self.start

    def collected(self, contracts: Iterable[Contract]) -> set[str]:
        """The symbols of those contracts that are to be collected, whatever their status."""
        if self.symbols != "all":
            return set(self.symbols)
        return {contract.symbol for contract in contracts if self.covers(contract)}

    def covers(self, contract: Contract) -> bool:
        """Whether `all` means the contract, whatever its status: it is of the quotes and types, and not left out."""
        is_asked_for = contract.quote in self.quote and contract.contract_type in self.contract_types
        return is_asked_for and contract.symbol not in self.exclude

    def follows(self, contract: Contract) -> bool:
        """Whether `all` means the contract to what keeps data current: `covers`, in one of the statuses asked for."""
        return self.covers(contract) and contract.status in self.statuses

    @property
    def streamed_symbols(self) -> Symbols:
        """Whose last price and open interest `stream_market` keeps, "all" for every one that `covers` takes."""
        return self.stream.symbols or self.symbols


def collection_path() -> Path:
    """`PERPFLOW_COLLECTION`, or the project's `include/collection.yaml`."""
    configured = os.environ.get(COLLECTION_VARIABLE)
    return Path(configured) if configured else include_path() / "collection.yaml"


def load_collection(path: Path | None = None) -> Collection:
    """Read and validate collection.yaml.

    Raises:
        BadConfiguration: the file is missing, not readable, not YAML, or holds a value that is not allowed.
    """
    path = path or collection_path()
    content = read_mapping(path)
    try:
        collection = Collection.model_validate(content)
    except ValidationError as error:
        # No cause: it would be printed in the traceback that Airflow shows, and pydantic's quotes passwords.
        raise BadConfiguration(f"{path.name}: {_faults(error)}") from None
    _check_processes(path, collection)
    return collection


def _check_processes(path: Path, collection: Collection) -> None:
    """Of a file only: who makes a `Collection` in Python has no pools."""
    pools, processes = collection.airflow.pools, collection.exchange.processes
    slots = pools.perpflow_rest + pools.perpflow_archive
    if processes < slots:
        raise BadConfiguration(
            f"{path.name}: exchange.processes = {processes}: fewer than the {slots} tasks that load at once by "
            f"airflow.pools (perpflow_rest {pools.perpflow_rest}, perpflow_archive {pools.perpflow_archive}).",
            hint=f"Without Redis they would exceed rate_share together: give at least {slots}, or fewer slots.",
        )


def _faults(error: ValidationError) -> str:
    # A list that is wrong is not the literal of its union either, which says nothing more.
    return "; ".join(
        _fault(detail)
        for detail in error.errors()
        if detail["type"] != "literal_error" or "symbols" not in detail["loc"]
    )


def _fault(detail: Any) -> str:
    steps = _steps(detail["loc"])
    where, value = ".".join(map(named, steps)), quoted(detail["input"], steps)
    if detail["type"] == "extra_forbidden":
        return f"unknown key {where} (value {value}); allowed here: {', '.join(_allowed(steps[:-1]))}"
    if detail["type"] == "invalid_key":
        section = ".".join(map(named, steps[:-1])) or "the file"
        return f"{section} has the key {value}: keys are words, such as {_allowed(steps[:-1])[0]}"
    message = detail["msg"].removeprefix("Value error, ")
    return f"{where} = {value}: {message}" if steps else message


def _steps(path: tuple[int | str, ...]) -> list[str]:
    """The keys that users know: pydantic adds the branch of a union ("symbols.tuple[...].0")."""
    branch = path.index("symbols") + 1 if "symbols" in path else len(path)
    return [str(step) for step in path[:branch] + path[branch + 1 :]]


def _allowed(path: list[str]) -> list[str]:
    parts: dict[str, type[BaseModel]] = {"datasets": DatasetSettings, "alerts": AlertSettings}
    if path and path[0] in parts:
        return sorted(parts[path[0]].model_fields)
    section: Any = Collection
    for step in path:
        section = section.model_fields[step].annotation
    return sorted(section.model_fields)


class Deployment(BaseModel):
    """Where everything is. One value, passed to every use case."""

    model_config = ConfigDict(frozen=True)

    database_url: str
    redis_url: str | None = None
    rest_url: str = "https://fapi.binance.com"
    archive_url: str = "https://data.binance.vision"
    stream_url: str = "wss://fstream.binance.com"
    collection: Collection = Collection()


def deployment_from_environment(
    database_url: str | None = None, redis_url: str | None = None, collection: Collection | None = None
) -> Deployment:
    """The deployment that the environment describes; Airflow passes the URLs of its connections instead.

    Raises:
        BadConfiguration: no database URL is known, an address is none, or collection.yaml is not valid.
    """
    database_url = database_url or os.environ.get("PERPFLOW_DATABASE_URL")
    if not database_url:
        raise BadConfiguration(
            "no market database is known.",
            hint="Run `python -m perpflow services start`, or set PERPFLOW_DATABASE_URL.",
        )
    variables = {
        "rest_url": ("PERPFLOW_REST_URL", "https"),
        "archive_url": ("PERPFLOW_ARCHIVE_URL", "https"),
        "stream_url": ("PERPFLOW_STREAM_URL", "wss"),
    }
    addresses = {name: _address(*variable) for name, variable in variables.items()}
    return Deployment(
        database_url=database_url,
        redis_url=redis_url or os.environ.get("PERPFLOW_REDIS_URL"),
        collection=collection or load_collection(),
        **{name: url for name, url in addresses.items() if url},
    )


def _address(variable: str, scheme: str) -> str | None:
    """The exchange's address that a variable names, None where it is unset or empty.

    Args:
        scheme: the secure one; without its last letter it is the other that is taken.

    Raises:
        BadConfiguration: it is none, or holds user and password: it stands in messages and in Redis' keys.
    """
    url = os.environ.get(variable)
    hint = f"Write one such as {scheme}://host:443, or leave it unset for Binance's own."
    if url and "@" in url:
        raise BadConfiguration(
            f"{variable} holds a user or a password, which no address of an exchange does.", hint=hint
        )
    if url and not _is_address(url, scheme):
        raise BadConfiguration(f"{variable} = {url!r}: not an address of {scheme[:-1]} or {scheme}.", hint=hint)
    return url or None


def _is_address(url: str, scheme: str) -> bool:
    # What comes between scheme and path is written as a proxy's is.
    parts = re.fullmatch(r"([a-z]+)://([^/\s\\?#]*)(/[^\s\\?#]*)?", url)
    return parts is not None and parts[1] in (scheme, scheme[:-1]) and is_proxy(f"http://{parts[2]}")
