"""TimescaleDB for the wheel's PostgreSQL, from Debian unstable, without touching the host's packages.

apt-get runs as whoever we are, with a source list, package lists and cache of its own. The mirror is whichever one the
host's apt already uses. Debian's build is the Apache-2 edition: hypertables and time_bucket, no compression, continuous
aggregates or policies. Fetched once (13 MB of package lists, 2.3 MB of packages) and kept.
"""

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from perpflow.embedded.errors import PackageUnavailable

SUITE = "sid"
# Debian's keys under their old and new names: Debian 13 no longer puts them where apt looks by itself.
KEYRINGS = tuple(Path("/usr/share/keyrings", f"debian-archive-keyring.{suffix}") for suffix in ("gpg", "pgp"))
# A host without network should know in seconds; a slow one gets a second try.
TIMEOUT_OPTIONS = ("Acquire::http::Timeout=10", "Acquire::https::Timeout=10", "Acquire::Retries=1")
FETCH_TIMEOUT_S = 300


@dataclass(frozen=True)
class TimescalePackage:
    """An unpacked TimescaleDB and the C library that it was built against."""

    root: Path
    postgres_major: int

    @property
    def libraries(self) -> list[Path]:
        """timescaledb.so (which PostgreSQL preloads) and the library of this version."""
        return sorted((self.root / f"usr/lib/postgresql/{self.postgres_major}/lib").glob("timescaledb*.so"))

    @property
    def extension_files(self) -> list[Path]:
        """The control file and SQL scripts."""
        return sorted((self.root / f"usr/share/postgresql/{self.postgres_major}/extension").glob("timescaledb*"))

    @property
    def loader(self) -> Path | None:
        """The C library's program loader, in the folder of the library itself."""
        return next(iter(sorted(self.root.glob("usr/lib/*/ld-linux-*.so.*"))), None)

    @property
    def version(self) -> str | None:
        """Such as 2.31.0, or None when the unpacked files are not what we expect."""
        for control in self.extension_files:
            if control.name == "timescaledb.control":
                lines = (line.split("=") for line in control.read_text().splitlines() if "=" in line)
                return next((value.strip(" '") for key, value in lines if key.strip() == "default_version"), None)
        return None


def provide(cache: Path, postgres_major: int) -> TimescalePackage:
    """The package from the cache, fetched first if it isn't there. The caller holds the cache's lock."""
    package = TimescalePackage(cache / f"timescaledb-pg{postgres_major}", postgres_major)
    if not package.root.exists():
        with tempfile.TemporaryDirectory(dir=cache, prefix="fetching-") as scratch:
            unpacked = fetch(Path(scratch), postgres_major)
            unpacked.chmod(0o755)
            unpacked.replace(package.root)
    return package


def fetch(scratch: Path, postgres_major: int) -> Path:
    """Fetch and unpack the package from the first of the host's mirrors that has it."""
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise PackageUnavailable(f"this host has no {program}")
    problems = []
    for mirror in mirrors():
        try:
            return _unpack(_download(scratch, mirror, postgres_major), scratch / "unpacked", postgres_major)
        except PackageUnavailable as problem:
            problems.append(str(problem))
    raise PackageUnavailable("; ".join(problems) or "apt has no package source on this host")


def mirrors() -> list[str]:
    """Addresses of the package archives that the host's apt uses, without duplicates."""
    listing = _run(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"])
    return list(dict.fromkeys(listing.split()))


def apt_options(scratch: Path, mirror: str) -> list[str]:
    """Options that keep apt-get inside the scratch folder, and its source list written there."""
    for folder in ("lists/partial", "cache/archives/partial", "none"):
        (scratch / folder).mkdir(parents=True, exist_ok=True)
    (scratch / "status").touch()
    keyring = next((f"[signed-by={path}] " for path in KEYRINGS if path.exists()), "")
    (scratch / "sources.list").write_text(f"deb {keyring}{mirror} {SUITE} main\n")
    options = [
        f"Dir::Etc::sourcelist={scratch / 'sources.list'}",
        f"Dir::Etc::sourceparts={scratch / 'none'}",
        f"Dir::Etc::preferences={scratch / 'none/preferences'}",
        f"Dir::Etc::preferencesparts={scratch / 'none'}",
        f"Dir::State::lists={scratch / 'lists'}",
        f"Dir::State::status={scratch / 'status'}",
        f"Dir::Cache={scratch / 'cache'}",
        "Acquire::Languages=none",
        # apt's own download account can't write into our folder; what is fetched is verified by signature anyway.
        "APT::Sandbox::User=root",
        *TIMEOUT_OPTIONS,
    ]
    return [part for option in options for part in ("-o", option)]


def _download(scratch: Path, mirror: str, postgres_major: int) -> Path:
    options = apt_options(scratch, mirror)
    downloads = scratch / "downloads"
    downloads.mkdir(exist_ok=True)
    _run(["apt-get", *options, "--quiet=2", "--error-on=any", "update"], cwd=scratch)
    names = [f"postgresql-{postgres_major}-timescaledb", "libc6"]
    _run(["apt-get", *options, "--quiet=2", "download", *names], cwd=downloads)
    return downloads


def _unpack(downloads: Path, target: Path, postgres_major: int) -> Path:
    for package in sorted(downloads.glob("*.deb")):
        _run(["dpkg-deb", "-x", str(package), str(target)], cwd=downloads)
    unpacked = TimescalePackage(target, postgres_major)
    if not unpacked.libraries or not unpacked.version or not unpacked.loader:
        raise PackageUnavailable(f"Debian's package for PostgreSQL {postgres_major} no longer has the expected files")
    return target


def _run(command: list[str], cwd: Path | None = None) -> str:
    environment = os.environ | {"LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=True
        )
    except subprocess.CalledProcessError as failure:
        said = [line for line in (failure.stderr or failure.stdout).splitlines() if line.startswith("E:")]
        reason = said[0] if said else f"exit code {failure.returncode}"
        raise PackageUnavailable(f"{command[0]} {command[-1]} failed: {reason}") from failure
    except subprocess.TimeoutExpired as failure:
        raise PackageUnavailable(f"{command[0]} {command[-1]} took over {FETCH_TIMEOUT_S} s") from failure
    return done.stdout
