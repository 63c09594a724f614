"""collection.yaml and the environment: what is valid is taken, what is not is one error that says what is allowed."""

from __future__ import annotations

import re
import traceback
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from perpflow.datasets import DATASETS, TABLES
from perpflow.errors import BadConfiguration
from perpflow.exchange.listing import ListedSymbol
from perpflow.settings import Collection, collection_path, deployment_from_environment, is_symbol, load_collection


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return tmp_path / "collection.yaml"


def refusal(path: Path, text: str) -> str:
    path.write_text(text)
    with pytest.raises(BadConfiguration) as refused:
        load_collection(path)
    return str(refused.value)


def test_the_shipped_file_says_what_the_defaults_say() -> None:
    shipped, default = load_collection(), Collection()
    assert shipped.model_dump(exclude={"datasets"}) == default.model_dump(exclude={"datasets"})
    assert set(shipped.datasets) <= set(TABLES)
    for name in TABLES:
        assert (shipped.series(name), shipped.schedule(name)) == (default.series(name), default.schedule(name))
        assert shipped.start_of(name) == default.start_of(name)


def keys(content: dict[str, Any], below: str = "") -> set[str]:
    """Every key of a mapping that holds mappings, with those that it stands under."""
    found = set()
    for name, value in content.items():
        found |= {f"{below}{name}"} | (keys(value, f"{below}{name}.") if isinstance(value, dict) else set())
    return found


def test_the_shipped_file_holds_every_key_and_those_without_a_default_as_a_comment() -> None:
    text = collection_path().read_text()
    shipped = keys(yaml.safe_load(re.sub(r"^( *)# (symbols|proxy): ", r"\1\2: ", text, flags=re.MULTILINE)))
    assert {key for key in keys(Collection().model_dump()) if not key.startswith("datasets.")} <= shipped


def test_an_empty_file_means_the_defaults(written: Path) -> None:
    written.write_text("# nothing\n")
    assert load_collection(written) == Collection()


def test_nobody_is_told_where_all_alerts_are_commented_out(written: Path) -> None:
    written.write_text("alerts:\n#  - {kind: webhook, connection: a}\n")
    assert load_collection().alerts == ()


def test_what_is_written_is_what_counts(written: Path) -> None:
    written.write_text(
        "symbols: [ICP/USDT#SETTLED, 1000PEPE/USDT, 币安人生/USDT]\n"
        "start: 2024-01-01\n"
        "datasets: {ohlcv: {timeframes: [1m, 1M], start: 2025-06-01T03:00:00+03:00}, funding_rate: {enabled: false}}\n"
        "exchange: {rate_share: 1, proxy: 'http://127.0.0.1:3128'}\n"
    )
    read = load_collection(written)
    assert read.symbols == ("ICP/USDT#SETTLED", "1000PEPE/USDT", "币安人生/USDT")
    assert read.series("ohlcv") == ("1m", "1M")
    assert read.start_of("ohlcv") == datetime(2025, 6, 1, tzinfo=UTC)
    assert read.start_of("open_interest") == datetime(2024, 1, 1, tzinfo=UTC)
    assert not read.dataset("funding_rate").enabled
    assert read.dataset("open_interest").enabled
    assert read.exchange.rate_share == 1


def test_all_symbols_is_a_word(written: Path) -> None:
    written.write_text("symbols: all\n")
    assert load_collection(written).symbols == "all"


SOL = ListedSymbol("SOL/USDT", "SOLUSDT", "SOL", "USDT", "PERPETUAL", "TRADING", None, None)


@pytest.mark.parametrize(
    ("text", "changes", "covered", "followed"),
    [
        ("symbols: all", {}, True, True),
        ("symbols: all", {"contract_type": "TRADIFI_PERPETUAL"}, True, True),
        ("symbols: all", {"quote": "USDC"}, False, False),
        ("{symbols: all, quote: [USDC, USDT]}", {"quote": "USDC"}, True, True),
        ("{symbols: all, quote: [USDC, BTC]}", {}, False, False),
        ("{symbols: all, contract_types: [PERPETUAL]}", {"contract_type": "TRADIFI_PERPETUAL"}, False, False),
        ("symbols: all", {"status": "DELISTED"}, True, False),
        ("symbols: all", {"status": "PENDING_TRADING"}, True, False),
        ("{symbols: all, statuses: [TRADING]}", {"status": "SETTLING"}, True, False),
        ("{symbols: all, exclude: [SOL/USDT]}", {}, False, False),
    ],
)
def test_filters_say_what_all_means_to_histories_and_to_increments(
    written: Path, text: str, changes: dict[str, str], covered: bool, followed: bool
) -> None:
    written.write_text(text)
    read, contract = load_collection(written), replace(SOL, **changes)
    assert (read.covers(contract), read.follows(contract)) == (covered, followed)


@pytest.mark.parametrize(
    ("text", "collected"),
    [
        ("symbols: all", {"SOL/USDT", "ICP/USDT#SETTLED", "TSLA/USDT"}),
        ("{symbols: all, contract_types: [TRADIFI_PERPETUAL]}", {"TSLA/USDT"}),
        ("{symbols: all, quote: USDC}", {"SOL/USDC"}),
        ("{symbols: all, quote: [USDT, USDC], exclude: [SOL/USDT, TSLA/USDT]}", {"SOL/USDC", "ICP/USDT#SETTLED"}),
        ("{symbols: [SOL/USDC], exclude: [SOL/USDC]}", {"SOL/USDC"}),
    ],
)
def test_what_is_collected_is_named_or_left_by_the_filters(written: Path, text: str, collected: set[str]) -> None:
    written.write_text(text)
    usdc = replace(SOL, symbol="SOL/USDC", quote="USDC")
    settled = replace(SOL, symbol="ICP/USDT#SETTLED", status="DELISTED")
    shares = replace(SOL, symbol="TSLA/USDT", contract_type="TRADIFI_PERPETUAL")
    assert load_collection(written).collected((SOL, usdc, settled, shares)) == collected


@pytest.mark.parametrize(("text", "read"), [("auto", None), ("1", 1), ("50", 50)])
def test_symbols_per_task_are_a_number_or_chosen(written: Path, text: str, read: int | None) -> None:
    written.write_text(f"symbols_per_task: {text}")
    assert load_collection(written).symbols_per_task == read


def test_what_is_written_of_the_stream_is_what_counts(written: Path) -> None:
    written.write_text(
        "stream: {schedule: '0 */2 * * *', symbols: [币安人生/USDT], last_price: none, liquidations: no, "
        "open_interest_every_s: 0}\n"
    )
    assert load_collection(written).stream.model_dump() == {
        "schedule": "0 */2 * * *",
        "symbols": ("币安人生/USDT",),
        "last_price": "none",
        "liquidations": False,
        "open_interest_every_s": 0,
    }


@pytest.mark.parametrize(
    ("text", "symbols"),
    [
        ("symbols: [SOL/USDT]", ("SOL/USDT",)),
        ("symbols: all", "all"),
        ("{symbols: [SOL/USDT], stream: {symbols: }}", ("SOL/USDT",)),
        ("{symbols: [SOL/USDT], stream: {symbols: all}}", "all"),
        ("{symbols: all, stream: {symbols: [BTC/USDT, ETH/USDT]}}", ("BTC/USDT", "ETH/USDT")),
    ],
)
def test_the_symbols_are_streamed_unless_the_stream_has_its_own(
    written: Path, text: str, symbols: tuple[str, ...] | str
) -> None:
    written.write_text(text)
    assert load_collection(written).streamed_symbols == symbols


@pytest.mark.parametrize("seconds", [0, 1, 2.5, 3600])
def test_open_interest_is_looked_at_each_second_at_most_and_once_an_hour_at_least_or_never(
    written: Path, seconds: float
) -> None:
    written.write_text(f"stream: {{open_interest_every_s: {seconds}}}")
    assert load_collection(written).stream.open_interest_every_s == seconds


#: What is written, and what the one error must name: key, value, what is allowed.
REFUSED = [
    ("symbol: [SOL/USDT]", ["unknown key symbol", "'SOL/USDT'", "allowed here: ", "symbols", "look_back_days"]),
    ("datasets: {liquidations: {start: 2024-01-01}}", ["liquidations.start", "no history of them"]),
    ("datasets: {liquidations: {enabled: false}}", ["liquidations.enabled", "stream.liquidations: false"]),
    ("datasets: {liquidations: {timeframes: [5m]}}", ["liquidations has no timeframes"]),
    ("datasets: {candles: {}}", ["unknown dataset 'candles'", ", ".join(TABLES)]),
    ("datasets: {ohlcv: {interval: 5m}}", ["unknown key datasets.ohlcv.interval", "'5m'", "schedule, start, timefr"]),
    ("datasets: {ohlcv: {timeframes: [5m, 7m]}}", ["datasets.ohlcv.timeframes", "'7m'", "1m, 3m, 5m, ", "1w, 1M"]),
    ("datasets: {open_interest: {timeframes: [5m]}}", ["open_interest has no timeframes", "candles have: ohlcv"]),
    ("symbols: [SOLUSDT]", ["symbols.0", "'SOLUSDT' is not a symbol", "SOL/USDT"]),
    ("symbols: [BTC/USDT, sol/usdt]", ["symbols.1", "'sol/usdt' is not a symbol", "SOL/USDT"]),
    ("symbols: some", ["symbols = 'some'", "give a list such as [SOL/USDT], or all"]),
    ("symbols: SOL/USDT", ["symbols = 'SOL/USDT'", "give a list such as [SOL/USDT], or all"]),
    ("symbols:", ["symbols = None", "give a list such as [SOL/USDT], or all"]),
    ("symbols: []", ["symbols = []", "give at least one symbol, or all"]),
    ("datasets: {ohlcv: {timeframes: []}}", ["datasets.ohlcv.timeframes = []", "give at least one of 1m, 3m, 5m, "]),
    ("datasets: {ohlcv: {schedule: every day}}", ["datasets.ohlcv.schedule = 'every day'", "'*/5 * * * *'"]),
    ("datasets: {ohlcv: {schedule: ''}}", ["datasets.ohlcv.schedule = ''", "5 fields", "'*/5 * * * *'"]),
    ("datasets: {ohlcv: {schedule: '*/5 * * * * *'}}", ["datasets.ohlcv.schedule = '*/5 * * * * *'", "5 fields"]),
    ("datasets: {ohlcv: {schedule: '61 * * * *'}}", ["datasets.ohlcv.schedule = '61 * * * *'", "5 fields"]),
    ("datasets: {ohlcv: {schedule: '0 0 30 2 *'}}", ["datasets.ohlcv.schedule = '0 0 30 2 *'", "5 fields"]),
    ("start: 2026-02-30", ["start = '2026-02-30'", "day is out of range for month"]),
    ("datasets: {ohlcv: {start: 2026-13-01}}", ["datasets.ohlcv.start = '2026-13-01'", "month must be in 1..12"]),
    ("start: 2026-01-01T12:00:00", ["start", "'2026-01-01T12:00:00' has no time zone", "2026-01-01T12:00:00Z"]),
    ("start: 'January'", ["start", "'January'"]),
    ("datasets: {ohlcv: {start: 2026-01-01T12:00:00}}", ["datasets.ohlcv.start", "no time zone"]),
    ("look_back_days: 31", ["look_back_days = 31", "30"]),
    ("load_log_days: 6", ["load_log_days = 6", "7"]),
    ("exchange: {rate_share: 0}", ["exchange.rate_share = 0", "greater than or equal to 0.01"]),
    ("exchange: {rate_share: 1.5}", ["exchange.rate_share = 1.5", "less than or equal to 1"]),
    ("exchange: {processes: many}", ["exchange.processes = 'many'", "integer"]),
    ("exchange: {attempts: yes}", ["exchange.attempts = True", "yes and no mean nothing here"]),
    ("look_back_days: on", ["look_back_days = True", "yes and no mean nothing here"]),
    ("airflow: {pools: {perpflow_rest: true}}", ["airflow.pools.perpflow_rest = True"]),
    ("exchange: {timeout_s: .nan}", ["exchange.timeout_s = nan"]),
    ("exchange: {rate: 1}", ["unknown key exchange.rate", "rate_share", "timeout_s"]),
    ("stream: {symbol: all}", ["unknown key stream.symbol", "'all'", "last_price, liquidations, open_int"]),
    ("stream: {schedule: '0 0 1 1 *'}", ["stream.schedule = '0 0 1 1 *'", "after three hours", "'0 */3 * * *'"]),
    ("stream: {schedule: '0 */4 * * *'}", ["stream.schedule = '0 */4 * * *'", "after three hours"]),
    ("stream: {schedule: '0 0-20/3 * * *'}", ["stream.schedule = '0 0-20/3 * * *'", "after three hours"]),
    ("stream: {schedule: '0 * * * 1-5'}", ["stream.schedule = '0 * * * 1-5'", "after three hours"]),
    ("stream: {schedule: hourly}", ["stream.schedule = 'hourly'", "5 fields", "'*/5 * * * *'"]),
    ("stream: {schedule: '0 0 30 2 *'}", ["stream.schedule = '0 0 30 2 *'", "5 fields"]),
    ("stream: {schedule: 'R * * * *'}", ["stream.schedule = 'R * * * *'", "write fixed times"]),
    ("stream: {schedule: }", ["stream.schedule = None", "string"]),
    ("stream: {symbols: [BTC/USDT, sol/usdt]}", ["stream.symbols.1", "'sol/usdt' is not a symbol", "SOL/USDT"]),
    ("stream: {symbols: SOL/USDT}", ["stream.symbols = 'SOL/USDT'", "give a list such as [SOL/USDT], or all"]),
    ("stream: {symbols: no}", ["stream.symbols = False", "give a list such as [SOL/USDT], or all"]),
    ("stream: {symbols: []}", ["stream.symbols = []", "give at least one symbol, or all"]),
    ("stream: {last_price: no}", ["stream.last_price = False", "yes and no mean", "trades, ticker or none"]),
    ("stream: {last_price: tickers}", ["stream.last_price = 'tickers'", "'trades', 'ticker' or 'none'"]),
    ("stream: {last_price: }", ["stream.last_price = None", "'trades', 'ticker' or 'none'"]),
    ("stream: {liquidations: some}", ["stream.liquidations = 'some'", "boolean"]),
    ("stream: {open_interest_every_s: no}", ["stream.open_interest_every_s = False", "yes and no mean nothing here"]),
    ("stream: {open_interest_every_s: 0.9}", ["stream.open_interest_every_s = 0.9", "1 or more seconds, or 0 for"]),
    ("stream: {open_interest_every_s: -1}", ["stream.open_interest_every_s = -1", "greater than or equal to 0"]),
    ("stream: {open_interest_every_s: 3601}", ["stream.open_interest_every_s = 3601", "less than or equal to 3600"]),
    ("stream: {open_interest_every_s: .nan}", ["stream.open_interest_every_s = nan"]),
    ("stream: trades", ["stream = 'trades'", "dictionary"]),
    ("- SOL/USDT", ["must hold keys", "list"]),
    ("exchange: {rate_share: 0.009}", ["exchange.rate_share = 0.009", "greater than or equal to 0.01"]),
    ("exchange: {live_reserve: 0.91}", ["exchange.live_reserve = 0.91", "less than or equal to 0.9"]),
    ("exchange: {timeout_s: 0.9}", ["exchange.timeout_s = 0.9", "greater than or equal to 1"]),
    ("exchange: {connect_timeout_s: 0.9}", ["exchange.connect_timeout_s = 0.9", "greater than or equal to 1"]),
    ("quote: ''", ["quote = ''", "not a quote currency; write capitals and digits, as in USDT"]),
    ("quote: usdt", ["quote = 'usdt'", "not a quote currency; write capitals and digits, as in USDT"]),
    ("quote: \"USDT\\n\"", ["quote = 'USDT\\n'", "not a quote currency"]),
    ("quote: [USDT, usdc]", ["quote = ['USDT', 'usdc']", "not a quote currency", "[USDT, USDC]"]),
    ("quote: []", ["quote = []", "give at least one quote currency"]),
    ("quote: 5", ["quote = 5", "not a quote currency"]),
    ("contract_types: [CURRENT_QUARTER]", ["contract_types", "unknown: 'CURRENT_QUARTER'", "PERPETUAL, TRADIFI_PERP"]),
    ("contract_types: PERPETUAL", ["contract_types = 'PERPETUAL'", "give a list of at least one of PERPETUAL"]),
    ("contract_types: []", ["contract_types = []", "give a list of at least one of PERPETUAL"]),
    ("statuses: [TRADING, DELISTED]", ["statuses", "unknown: 'DELISTED'", "PENDING_TRADING, TRADING, "]),
    ("statuses: [[TRADING]]", ["statuses", "unknown: ['TRADING']"]),
    ("exclude: [BTC/USDT, solusdt]", ["exclude.1", "'solusdt' is not a symbol", "SOL/USDT"]),
    ("exclude: BTC/USDT", ["exclude = 'BTC/USDT'"]),
    ("symbols_per_task: 0", ["symbols_per_task = 0", "greater than or equal to 1"]),
    ("symbols_per_task: many", ["symbols_per_task = 'many'", "integer"]),
    ("symbols_per_task: yes", ["symbols_per_task = True", "yes and no mean nothing here"]),
    ('symbols: ["\\uD800/USDT"]', ["symbols.0 = '\\ud800/USDT'", "'\\ud800/USDT' is not a symbol"]),
    ('symbols: ["\\0/USDT"]', ["symbols.0 = '\\x00/USDT'", "'\\x00/USDT' is not a symbol"]),
    ('"\\uD800": 1', ["unable to parse raw data as a unicode string"]),
    ('"look\\nback": 1', ["unknown key 'look\\nback' (value 1)"]),
    ("look(back: 1", ["unknown key look(back (value 1)"]),
    ("yes: no", ["the file has the key True: keys are words, such as airflow"]),
    ("exchange: {1: 2}", ["exchange has the key 1: keys are words, such as archive_concurrency"]),
    ("start: [2026-01-01]", ["start = ['2026-01-01']: not an instant; write one such as 2024-01-31"]),
    ("health: {every: 5}", ["unknown key health.every (value 5)", "clock_error_s", "schedule"]),
    ("health: {schedule: often}", ["health.schedule = 'often'", "5 fields", "'*/5 * * * *'"]),
    ("health: {missed_runs: 0}", ["health.missed_runs = 0", "greater than or equal to 1"]),
    ("health: {error_rate: 0.2}", ["health.error_rate = 0.2", "dictionary"]),
    ("health: {error_rate: {red: 20}}", ["health.error_rate.red = 20", "less than or equal to 1"]),
    ("health: {error_rate: {rot: 0.2}}", ["unknown key health.error_rate.rot (value 0.2)", "red, yellow"]),
    ("health: {error_rate: {yellow: 0.3}}", ["health.error_rate", "yellow (0.3) must not lie above red (0.2)"]),
    ("health: {disk_free_gb: {yellow: 1}}", ["health.disk_free_gb", "yellow (1) must not lie below red (2)"]),
    ("health: {disk_free_gb: {red: .nan}}", ["health.disk_free_gb.red = nan"]),
    ("health: {staging_hours: {yellow: yes}}", ["health.staging_hours.yellow = True", "yes and no mean nothing"]),
    ("health: {database_gb: {yellow: 5, red: 4}}", ["health.database_gb", "yellow (5) must not lie above red (4)"]),
    ("alerts: {kind: smtp}", ["alerts", "tuple"]),
    ("health: {audits_hours: {yellow: 25}}", ["health.audits_hours", "yellow (25) must not lie above red (24)"]),
    ("alerts: [{kind: mail, connection: a}]", ["alerts.0.kind = 'mail'", "'smtp', 'webhook' or 'slack'"]),
    ("alerts: [{kind: webhook}]", ["alerts.0.connection", "required"]),
    ("alerts: [{kind: webhook, connection: 'a b'}]", ["alerts.0.connection = 'a b'", "pattern"]),
    ("alerts: [{kind: webhook, connection: a, url: x}]", ["unknown key alerts.0.url", "connection, kind, level, to"]),
    ("alerts: [{kind: webhook, connection: a, level: green}]", ["alerts.0.level = 'green'", "'yellow' or 'red'"]),
    ("alerts: [{kind: webhook, connection: a, to: b@c}]", ["alerts.0", "webhook has no to"]),
    ("alerts: [{kind: smtp, connection: a}]", ["alerts.0", "smtp needs to"]),
    ("alerts: [{kind: smtp, connection: a, to: [b]}]", ["alerts.0.to = ", "not a mail address", "me@"]),
    ("alerts: [{kind: slack, connection: a}, {kind: slack, connection: a, level: yellow}]", ["alerts", "given twice"]),
    ("0", ["must hold keys", "int"]),
    ("symbols: [", ["not valid YAML", "but found '<stream end>' (line 1, column 11)"]),
    ("look_back_days: !!timestamp 2026-02-30", ["not valid YAML", "no timestamp: day is out of range for month (l"]),
    ("\nsymbols: !!bool abc", ["not valid YAML", "this is no bool (line 2, column 10)"]),
    ("symbols: !!timestamp abc", ["not valid YAML", "this is no timestamp (line 1, column 10)"]),
    ("start: !!int ''", ["not valid YAML", "this is no int (line 1, column 8)"]),
    ("look_back_days: 1" + ":1" * 200 + ".", ["not valid YAML", "this is no float (line 1, column 17)"]),
    ("symbols: " + "[" * 2000, ["not valid YAML", "too deep in one another"]),
    ("quote: USDT\n---\nquote: USDC", ["not valid YAML", "expected a single document", "another document (line 2"]),
    ("symbols: \0", ["not valid YAML", "the character 0x0000 at position 9 is not allowed"]),
    ("quote: USDT\nexchange: {}\n'quote': USDC", ["the key quote is given twice, first in line 1 (line 3, column 1)"]),
    ("exchange:\n  attempts: 1\n  attempts: 2", ["key attempts is given twice, first in line 2 (line 3, column 3)"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "named"), REFUSED)
def test_a_value_that_is_not_valid_is_an_error_that_names_key_value_and_what_is_allowed(
    written: Path, text: str, named: list[str]
) -> None:
    said = refusal(written, text)
    assert [part for part in (*named, written.name) if part not in said] == []
    assert said.count("\n") == 0 or "YAML" in said


@pytest.mark.parametrize(
    "address",
    [
        *("proxy:3128", "socks5://h:1080", "http://", "http://h:port", "http://h:0", "http://h/path", "http://a b"),
        *("http://u:p@999.999.999.999:1", "http://u:p@1.2.3:1", "http://u:p@höst:1", "http://u:p@[v1.x]:1"),
        *(
            "http://u:p@[::1",
            "http://u:p@[::1]x:1",
            "http://u:p@host\\x:1",
            "http://h:1?q=1",
            "http://h:1?",
            "http://h#f",
        ),
        *("http://u:€@h:1", "http://u:%E2%82%AC@h:1", "http://a%3Ab:p@h:1", "http://-h:1", "http://a..b:1"),
        "http://" + "h" * 64,
    ],
)
def test_what_is_no_http_proxy_is_refused(written: Path, address: str) -> None:
    said = refusal(written, f"exchange: {{proxy: '{address}'}}")
    assert "exchange.proxy = ...: not the address of an HTTP proxy; write http://user:password@host:3128" in said


@pytest.mark.parametrize(
    "text",
    [
        "exchange: {proxy: 'ftp://me:s3cret@host:21'}",
        "exchange: {proxi: 'http://me:s3cret@host:3128'}",
        "exchange: {proxi: 'http://me:s3/cr@et@host:3128'}",
        "exchange: [{proxy: 'http://me:s3cret@host:3128'}]",
        "proxy: http://me:s3cret@host:3128",
        "exchange: {proxy: http://me:s3cret@host:3128",
        "exchange:\n  proxy: [http://me:s3cret@host:3128]\n",
        "exchange: {password: s3cret}",
        "exchange: {Proxy_Pwd: s3cret}",
        "exchange: {proxy_password: [s3cret]}",
        "exchange: {proxy: {user: me, secret: s3cret}}",
        "proxy: {url: 'http://host', password: s3cret}",
        "proxi: 'http://me:s3 cret@host:1'",
        "exchange: 'http://me:s3 cret@host:1'",
        "symbols: ['http://me:s3 cret@host:1']",
        "start: ' http://me:s3 cret@host:1'",
        "start: {password: s3cret}",
        "datasets: {'http://me:s3 cret@host:1': {}}",
        "datasets: {ohlcv: {timeframes: ['http://me:s3 cret@host:1']}}",
        "datasets: {open_interest: {timeframes: [5m]}}\nexchange: {egress: s3}",
        "exchange: {proxy:http://me:s3cret@host:3128}",
        "exchange: {'pass(': s3cret}",
        "{proxy: http://me:s3cret@host:3128: x, proxy: y}",
        "{'http://me:s3cret@h': 1, 'http://me:s3cret@h': 1}",
        'proxy: "http://me:s3eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee',
        "exchange:\n  proxy: http://me:s3cret: host",
        "exchange: {password: !s3cret}",
        "exchange: {password: !s3cret!x y}",
        "exchange: {password: *s3cret}",
        "exchange: {password: &s3cret 1, pass: &s3cret 2}",
        "exchange: {password: !!int s3cret}",
        "exchange: {password: !!float s3cret}",
    ],
)
def test_no_error_quotes_a_password_nor_does_its_traceback(written: Path, text: str) -> None:
    written.write_text(text)
    with pytest.raises(BadConfiguration) as refused:
        load_collection(written)
    said = "".join(traceback.format_exception(refused.value, limit=0))
    assert [secret for secret in ("s3", "cr@", "cret@", "me:") if secret in said] == []


def test_a_fault_of_the_whole_file_does_not_quote_the_file(written: Path) -> None:
    said = refusal(written, "symbols: [SOL/USDT]\ndatasets: {open_interest: {timeframes: [5m]}}")
    fault = "datasets.open_interest.timeframes: open_interest has no timeframes; candles have: "
    fault += ", ".join(name for name, spec in TABLES.items() if spec.series_in_key)
    assert said == f"collection.yaml: {fault}"


def test_a_merged_mapping_may_be_overruled(written: Path) -> None:
    written.write_text(
        "datasets:\n"
        "  funding_rate: &base {start: 2024-01-01, enabled: false}\n"
        "  ohlcv: &more {<<: *base, enabled: true}\n"
        "  open_interest: {<<: *more, enabled: false}\n"
    )
    read = load_collection(written)
    assert [read.dataset(name).enabled for name in ("ohlcv", "open_interest", "funding_rate")] == [True, False, False]
    assert read.start_of("open_interest") == datetime(2024, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "slots"),
    [
        ("exchange: {processes: 7}", 8),
        ("airflow: {pools: {perpflow_rest: 5}}", 9),
        ("airflow: {pools: {perpflow_archive: 128, perpflow_rest: 128}}\nexchange: {processes: 255}", 256),
    ],
)
def test_processes_are_at_least_as_many_as_the_two_pools_let_load(written: Path, text: str, slots: int) -> None:
    said = refusal(written, text)
    assert f"fewer than the {slots} tasks that load at once by airflow.pools (perpflow_rest " in said
    assert f"give at least {slots}" in said
    pools = f"{{perpflow_rest: {slots // 2}, perpflow_archive: {slots - slots // 2}}}"
    written.write_text(f"airflow: {{pools: {pools}}}\nexchange: {{processes: {slots}}}\n")
    assert load_collection(written).exchange.processes == slots


@pytest.mark.parametrize("field", ["R * * * *", "r(0-5) * * * *", "0 R/2 * * *", "H * * * *", "0 h(1-5) * * *"])
def test_a_schedule_of_random_times_is_refused(written: Path, field: str) -> None:
    said = refusal(written, f"datasets: {{ohlcv: {{schedule: '{field}'}}}}")
    assert f"datasets.ohlcv.schedule = '{field}': " in said


@pytest.mark.parametrize("schedule", ["0 0 * MAR FRI", "0 0 * mar-apr thu,fri", "0 0 * * fri#1", "0 0 L * *"])
def test_a_schedule_may_have_names(written: Path, schedule: str) -> None:
    written.write_text(f"datasets: {{ohlcv: {{schedule: '{schedule}'}}}}")
    assert load_collection(written).schedule("ohlcv") == schedule


def test_a_date_in_the_future_is_refused(written: Path) -> None:
    tomorrow = (datetime.now(UTC) + timedelta(days=2)).date()
    for key, text in (
        ("start", f"start: {tomorrow}"),
        ("funding_rate.start", f"datasets: {{funding_rate: {{start: {tomorrow}}}}}"),
    ):
        said = refusal(written, text)
        assert key in said
        assert f"{tomorrow}T00:00:00+00:00 lies in the future" in said


def test_several_faults_are_one_error_that_names_each(written: Path) -> None:
    said = refusal(written, "look_back_days: 0\nquot: USDC\nexchange: {timeout_s: -1}\n")
    assert [part for part in ("look_back_days", "quot", "exchange.timeout_s") if part not in said] == []


@pytest.mark.parametrize(
    ("text", "key"), [("symbols: [SOLUSDT]", "symbols"), ("stream: {symbols: [SOLUSDT]}", "stream.symbols")]
)
def test_one_fault_is_said_once(written: Path, text: str, key: str) -> None:
    assert refusal(written, text) == (
        f"collection.yaml: {key}.0 = 'SOLUSDT': 'SOLUSDT' is not a symbol; write base and quote in capitals, "
        "as in SOL/USDT"
    )


def test_faults_of_one_section_do_not_hide_each_other(written: Path) -> None:
    assert refusal(written, "stream: {last_price: last, open_interest_every_s: 0.5}") == (
        "collection.yaml: stream.last_price = 'last': Input should be 'trades', 'ticker' or 'none'; "
        "stream.open_interest_every_s = 0.5: give 1 or more seconds, or 0 for never"
    )


def test_a_schedule_is_whatever_the_scheduler_takes_of_five_fields(written: Path) -> None:
    written.write_text("datasets: {ohlcv: {schedule: '2-59/5 0,12 * jan-jun mon#1'}, open_interest: {schedule: }}\n")
    read = load_collection(written)
    assert read.schedule("ohlcv") == "2-59/5 0,12 * jan-jun mon#1"
    assert read.schedule("open_interest") == DATASETS["open_interest"].schedule


def test_settings_cannot_be_changed_after_the_fact() -> None:
    collection = Collection()
    with pytest.raises(ValueError, match="frozen"):
        setattr(collection, "quote", "USDC")  # noqa: B010  mypy knows that it cannot be set


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("'2026-01-31'", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31 12:00:00+03:00", datetime(2026, 1, 31, 9, tzinfo=UTC)),
    ],
)
def test_a_start_may_be_a_date_or_an_instant_with_its_zone(written: Path, text: str, instant: datetime) -> None:
    written.write_text(f"start: {text}\n")
    assert load_collection(written).start == instant


def test_a_file_that_is_not_utf_8_is_said_to_be(written: Path) -> None:
    written.write_bytes("# für Märkte\n".encode("latin-1"))
    with pytest.raises(BadConfiguration, match=rf"^{written} is not UTF-8 text: byte 0xfc at position 3"):
        load_collection(written)


def test_a_file_that_cannot_be_read_is_an_error_that_names_it_and_says_why(tmp_path: Path) -> None:
    endless = tmp_path / "endless.yaml"
    endless.symlink_to(endless)
    for path, why in ((tmp_path, "Is a directory"), (endless, "Too many levels of symbolic links")):
        with pytest.raises(BadConfiguration, match=f"^{path} cannot be read: {why}.*PERPFLOW_COLLECTION"):
            load_collection(path)


def test_a_missing_file_is_said_to_be(written: Path) -> None:
    with pytest.raises(BadConfiguration, match="does not exist"):
        load_collection(written)


def test_the_environment_names_another_file(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERPFLOW_COLLECTION", str(written))
    assert collection_path() == written


@pytest.mark.parametrize("text", ["SOL/USDT", "1000PEPE/USDT", "币安人生/USDT", "ICP/USDT#SETTLED", "BTC/USDC"])
def test_symbols_are_written_base_slash_quote(text: str) -> None:
    assert is_symbol(text)


NO_SYMBOLS = ("", "SOL", "SOLUSDT", "sol/usdt", "SOL/USDT/X", "SOL /USDT", "/USDT", "SOL/", "SOL/USDT#", "SOL/USDT\n",
              "\0/USDT", "SOL/\x85", "\ud800/USDT")  # fmt: skip


@pytest.mark.parametrize("text", NO_SYMBOLS)
def test_anything_else_is_no_symbol(text: str) -> None:
    assert not is_symbol(text)


# --- where everything is


def test_without_a_database_nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PERPFLOW_DATABASE_URL", raising=False)
    with pytest.raises(BadConfiguration, match="no market database is known.*PERPFLOW_DATABASE_URL"):
        deployment_from_environment()


def test_the_environment_says_where_everything_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE", "REDIS", "REST", "ARCHIVE"):
        monkeypatch.setenv(f"PERPFLOW_{name}_URL", f"http://{name.lower()}")
    found = deployment_from_environment()
    assert (found.database_url, found.redis_url) == ("http://database", "http://redis")
    assert (found.rest_url, found.archive_url) == ("http://rest", "http://archive")


def test_an_airflow_connection_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERPFLOW_DATABASE_URL", "http://environment")
    assert deployment_from_environment("http://connection").database_url == "http://connection"


def test_an_empty_variable_means_the_real_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERPFLOW_DATABASE_URL", "http://database")
    monkeypatch.setenv("PERPFLOW_REST_URL", "")
    monkeypatch.setenv("PERPFLOW_ARCHIVE_URL", "")
    found = deployment_from_environment()
    assert (found.rest_url, found.archive_url) == ("https://fapi.binance.com", "https://data.binance.vision")
