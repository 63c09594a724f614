"""PostgreSQL's configuration: for bulk loads and analysis on a laptop that also runs Airflow, idle most of the time."""

import os
from pathlib import Path

MIB = 1024 * 1024
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  where POSIX shared memory lives on Linux
# Docker's default is 64 MB, which parallel queries outgrow.
ENOUGH_SHARED_MEMORY = 256 * MIB


def memory_bytes() -> int:
    """The memory we may use: the machine's, or the container's limit if that is less."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(machine, int(CGROUP_LIMIT.read_text()))
    except (FileNotFoundError, PermissionError, ValueError):  # no container, or "max"
        return machine


def shared_memory_bytes() -> int | None:
    """The size of /dev/shm, or None where there is none (macOS)."""
    try:
        stat = os.statvfs(SHARED_MEMORY)
    except FileNotFoundError:
        return None
    return stat.f_blocks * stat.f_frsize


def settings(
    port: int, *, timescaledb: bool, memory: int, shared_memory: int | None = None
) -> list[tuple[str, str, str]]:
    """Name, value, reason. Everything else stays at PostgreSQL's default, fsync and synchronous_commit included."""
    buffers = min(max(memory // 16, 128 * MIB), 1024 * MIB) // MIB
    chosen = [
        ("listen_addresses", "127.0.0.1", "never reachable from another machine"),
        ("port", str(port), "chosen once, see services.json"),
        ("unix_socket_directories", "", "TCP only: a socket's path has 107 characters at most, a state folder may not"),
        ("password_encryption", "scram-sha-256", "what pg_hba.conf asks for"),
        ("max_connections", "200", "Airflow's components hold about 60, parallel tests come on top"),
        ("max_locks_per_transaction", "256", "a query takes a lock per chunk; 64 fails at a thousand chunks"),
        ("shared_buffers", f"{buffers}MB", "a sixteenth of memory, 128 MB to 1 GB: +15 % load rate; touched when used"),
        ("effective_cache_size", f"{memory // 2 // MIB}MB", "the planner's guess of the system's cache; takes nothing"),
        ("work_mem", "16MB", "sorting a staged batch without spilling, times a few dozen connections"),
        ("maintenance_work_mem", "128MB", "vacuum after each publish, index builds in migrations"),
        ("random_page_cost", "1.1", "laptops have SSDs; 4 steers away from index scans over chunks"),
        ("max_wal_size", "4GB", "at 1 GB a history load checkpoints every few seconds"),
        ("checkpoint_timeout", "15min", "fewer full-page images; recovery after a crash stays below a minute"),
        ("wal_compression", "pglz", "half the WAL for little CPU; lz4 isn't compiled into the wheel"),
        ("jit", "off", "compiling costs more than it saves on queries of milliseconds"),
        ("timezone", "UTC", "all times are UTC, also when psql prints them"),
        ("log_timezone", "UTC", "so that this log and Airflow's can be laid side by side"),
        ("log_line_prefix", "%m [%p] %d ", "when, which process, which database"),
        ("log_checkpoints", "off", "a line every 15 minutes for ever says nothing"),
    ]
    if shared_memory is not None and shared_memory < ENOUGH_SHARED_MEMORY:
        chosen.append(
            ("dynamic_shared_memory_type", "mmap", "this container's shared memory is too small for parallel queries")
        )
    return chosen + (timescale_settings() if timescaledb else [])


def timescale_settings() -> list[tuple[str, str, str]]:
    """What TimescaleDB needs and doesn't."""
    return [
        ("shared_preload_libraries", "timescaledb", "it hooks into the planner"),
        ("timescaledb.telemetry_level", "off", "nothing calls home"),
        (
            "timescaledb.max_background_workers",
            "0",
            "the Apache edition has no policies; a scheduler per database idles",
        ),
    ]


def render(chosen: list[tuple[str, str, str]]) -> str:
    """The text of postgresql.conf."""
    lines = ["# Written by `perpflow services start` each time; your own go into local.conf beside it.", ""]
    for name, value, reason in chosen:
        lines += [f"# {reason}", f"{name} = '{value}'"]
    return "\n".join([*lines, "", "include 'local.conf'", ""])


# Every login needs the password, also from this machine: other users of it are strangers.
HOST_BASED_AUTHENTICATION = "host all all 127.0.0.1/32 scram-sha-256\n"
