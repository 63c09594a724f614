"""Whom the servers run as, and folders which that account can reach.

PostgreSQL refuses to run as root. As root, both servers therefore run as an unprivileged account; as an ordinary user
they run as that user. An unprivileged account can't pass through a folder such as /root or a 0700 temporary folder:
then the servers' files go to a folder outside, named after a hash of the wanted one. The modes of folders that are not
ours are never changed.
"""

import hashlib
import os
import pwd
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

ACCOUNT_NAME = "perpflow"


class RunAs(TypedDict, total=False):
    """subprocess's keyword arguments for running as somebody else."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class Account:
    """The account that servers run as and whose files are theirs."""

    uid: int
    gid: int

    def run_as(self) -> RunAs:
        """Arguments for subprocess; none when we are that account, as only root may ask for another one."""
        if os.geteuid() == self.uid:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def give(self, path: Path) -> None:
        """Make a file or folder this account's own."""
        if os.geteuid() != self.uid:
            os.chown(path, self.uid, self.gid)

    def write(self, path: Path, text: str) -> None:
        """Write a file that this account alone can read.

        Always a new file: as root, writing through a link that somebody left there could overwrite anything.
        """
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            if os.geteuid() != self.uid:
                os.fchown(file.fileno(), self.uid, self.gid)


def service_account(data: Path) -> Account:
    """Ourselves; as root, the owner of the data, else the account `perpflow` (made if need be), else `nobody`."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    if data.exists():
        return Account(data.stat().st_uid, data.stat().st_gid)
    entry = _find(ACCOUNT_NAME) or _add(ACCOUNT_NAME) or pwd.getpwnam("nobody")
    return Account(entry.pw_uid, entry.pw_gid)


def _find(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _add(name: str) -> pwd.struct_passwd | None:
    command = ["useradd", "--system", "--no-create-home", "--user-group", "--shell", "/usr/sbin/nologin", name]
    try:
        subprocess.run(command, capture_output=True, check=False)  # noqa: S607  its folder differs between systems
    except FileNotFoundError:
        return None
    # Not judged by its exit code: another process may just have added the account.
    return _find(name)


def can_enter(folder: Path, account: Account) -> bool:
    """Whether the account can pass through this folder; tried as that account, as modes are not the whole truth."""
    script = ["/bin/sh", "-c", 'test -x "$1"', "sh", str(folder)]
    return subprocess.run(script, cwd="/", check=False, **account.run_as()).returncode == 0


def reachable_folder(wanted: Path, account: Account) -> Path:
    """The wanted folder, made if need be, or its substitute outside when the account can't reach it."""
    wanted.mkdir(parents=True, exist_ok=True)
    if can_enter(wanted, account):
        return wanted
    substitute = substitute_folder(wanted)
    substitute.mkdir(parents=True, exist_ok=True)
    for folder in (substitute.parent, substitute):
        if folder.stat().st_uid != os.geteuid():
            raise PermissionError(f"{folder} belongs to somebody else; it must be ours")
        folder.chmod(0o755)
    return substitute


def substitute_folder(wanted: Path) -> Path:
    """Where files go instead: what stands below the temporary folder stays temporary, the rest is kept for ever.

    Not /var/tmp for data that should last: systems may delete there what was not read for a month.
    """
    wanted = wanted.resolve()
    temporary = wanted.is_relative_to(Path(tempfile.gettempdir()).resolve())
    base = Path("/var/tmp") if temporary else Path("/var/lib")  # noqa: S108  ownership is verified before use
    return base / "perpflow" / hashlib.sha256(os.fsencode(wanted)).hexdigest()[:16]
