"""The servers that `benchmarks.streams` compares: each started with the same graph, and stopped."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import psycopg

from app.keys import create_key
from app.postgres import run_postgres, stop
from app.premises import free_port
from benchmarks.environment import environment
from benchmarks.ingest import NOWHERE
from benchmarks.report import ROOT
from benchmarks.stream_graph import NAME
from core.database import open_pool
from core.domain import Role
from core.settings import DatabaseSettings, variables

START_S = 600.0
DEBIAN = Path("/usr/lib/postgresql")
POOL = 20
"""Connections that each server may have of a kind; Ragstone's default."""
JOBS = 200
"""Runs that each server may execute at once: as many as there are streams at most."""
GRAPH_FILE = "from stream_graph import make_graph\n\ngraph = make_graph().compile()\n"
UNPRIVILEGED = "nobody"


class Unable(Exception):
    """A server that cannot be installed or started; the message says why."""


class Running(NamedTuple):
    """A server that takes runs."""

    url: str
    key: str = ""
    note: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries."""
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}


class Ours(NamedTuple):
    """A Ragstone process, and the database that it works on."""

    url: str
    key: str
    database: str
    pid: int


class Side(NamedTuple):
    """A server to be measured; ``open`` serves below an empty folder."""

    name: str
    open: Callable[[Path], AbstractContextManager[Running]]


@contextmanager
def run_ours(folder: Path) -> Iterator[Running]:
    """Ragstone as its own process, on the embedded PostgreSQL."""
    with open_ours(folder, "benchmarks.stream_agents") as ours:
        yield Running(ours.url, ours.key, f"Ragstone as it is delivered, but for {JOBS} runs at once (100).")


@contextmanager
def open_ours(folder: Path, agents: str) -> Iterator[Ours]:
    """Ragstone with the agents of that module, as its own process, on the embedded PostgreSQL."""
    with run_postgres(folder) as database:
        port = free_port()
        told = {
            "DATA_DIR": str(folder / "data"),
            "DATABASE__URL": database,
            "CHAT__BASE_URL": NOWHERE,
            "API__PORT": str(port),
            "LOG__LEVEL": "warning",
            "RUNS__CONCURRENCY": str(JOBS),
            "RUNS__TENANT_ACTIVE": str(JOBS),
        }
        url = f"http://127.0.0.1:{port}"
        argv = [sys.executable, "-m", "benchmarks.site", agents]
        with process(argv, told, folder / "ours.log", ROOT, f"{url}/health/live") as pid:
            yield Ours(url, asyncio.run(make_key(database)), database, pid)


async def make_key(database: str) -> str:
    """A key of a member."""
    async with open_pool(DatabaseSettings.model_validate({"url": database, "pool_min": 1})) as pool:
        return await create_key(pool, "bench", Role.MEMBER)


@contextmanager
def run_bare(folder: Path) -> Iterator[Running]:
    """`benchmarks/stream_bare.py`."""
    python = installed("stream_bare.txt")
    port = free_port()
    argv = [str(python), "-m", "benchmarks.stream_bare", str(port)]
    url = f"http://127.0.0.1:{port}"
    with process(argv, {"PYTHONPATH": str(ROOT)}, folder / "bare.log", folder, f"{url}/ok"):
        yield Running(url)


@contextmanager
def run_aegra(folder: Path) -> Iterator[Running]:
    """aegra-api on a PostgreSQL that has the extension that it wants."""
    python = installed("stream_aegra.txt")
    project(folder, "aegra.json", {"graphs": {NAME: "./graph.py:graph"}})
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with system_postgres(folder) as (database, version):
        told = {
            "DATABASE_URL": database,
            "AUTH_TYPE": "noop",
            "AEGRA_CONFIG": str(folder / "aegra.json"),
            "PORT": str(port),
            "LOG_LEVEL": "WARNING",
            "SQLALCHEMY_POOL_SIZE": str(POOL),
            "LANGGRAPH_MAX_POOL_SIZE": str(POOL),
            "PYTHONPATH": str(folder),
        }
        argv = [str(python), "-m", "uvicorn", "aegra_api.main:app", "--host", "127.0.0.1", "--port", str(port)]
        with process([*argv, "--log-level", "warning"], told, folder / "aegra.log", folder, f"{url}/health"):
            yield Running(url, note=f"aegra on PostgreSQL {version} with pools of {POOL} connections.")


@contextmanager
def run_in_memory(folder: Path) -> Iterator[Running]:
    """`langgraph dev`: langgraph-api with its runtime in memory."""
    python = installed("stream_memory.txt")
    project(folder, "langgraph.json", {"graphs": {NAME: "./graph.py:graph"}, "dependencies": ["."]})
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    told = {"LANGSMITH_TRACING": "false", "LANGGRAPH_NO_VERSION_CHECK": "true", "LOG_LEVEL": "WARNING"}
    told |= {"PYTHONPATH": str(folder), "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
    argv = [str(python.parent / "langgraph"), "dev", "--no-browser", "--no-reload", "--host", "127.0.0.1"]
    argv += ["--port", str(port), "--n-jobs-per-worker", str(JOBS)]
    with process(argv, told, folder / "memory.log", folder, f"{url}/ok"):
        yield Running(url, note=f"`langgraph dev` with {JOBS} jobs per worker.")


SIDES = (
    Side("Ragstone", run_ours),
    Side("bare FastAPI + `astream`, nothing stored", run_bare),
    Side("aegra-api", run_aegra),
    Side("langgraph-api in memory", run_in_memory),
)


def project(folder: Path, name: str, content: object) -> None:
    """What the others read: a file that names the graph, and the graph."""
    (folder / name).write_text(json.dumps(content), "utf-8")
    (folder / "graph.py").write_text(GRAPH_FILE, "utf-8")
    shutil.copy(ROOT / "benchmarks" / "stream_graph.py", folder)


def installed(requirements: str) -> Path:
    """The Python of an environment with the packages.

    Raises:
        Unable: they cannot be installed.
    """
    path = ROOT / "benchmarks" / requirements
    try:
        return environment(path)
    except subprocess.CalledProcessError as error:
        errors = [line for line in str(error.stderr).splitlines() if line.startswith("ERROR")] or [str(error)]
        raise Unable(f"benchmarks/{requirements} cannot be installed: {errors[-1]}") from error


@contextmanager
def process(argv: Sequence[str], told: Mapping[str, str], log: Path, cwd: Path, probe: str) -> Iterator[int]:
    """A server while the block runs, in a process group of its own, entered when the probe answers; its process id.

    Raises:
        Unable: it ends, or does not answer; with the last lines of its log.
    """
    env = {name: value for name, value in os.environ.items() if name.upper() not in variables()}
    with log.open("wb") as output:
        server = subprocess.Popen(
            argv, cwd=cwd, env=env | dict(told), stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START_S
        while not answers(probe):
            if server.poll() is not None or time.monotonic() > deadline:
                last = log.read_text("utf-8", "replace").strip().splitlines()[-3:]
                raise Unable(f"`{Path(argv[0]).name} {' '.join(argv[1:])}` does not start: {' / '.join(last)}")
            time.sleep(0.1)
        yield server.pid
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def answers(url: str) -> bool:
    """Whether the address answers 200."""
    try:
        with urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


@contextmanager
def system_postgres(folder: Path) -> Iterator[tuple[str, str]]:
    """The address and version of a fresh server of an installed PostgreSQL that has the extension uuid-ossp.

    Raises:
        Unable: none is installed, or it does not start.
    """
    found = sorted(DEBIAN.glob("*/bin/postgres"), reverse=True)
    has = [p for p in found if Path(f"/usr/share/postgresql/{p.parts[-3]}/extension/uuid-ossp.control").exists()]
    if not has:
        raise Unable(f"it wants a PostgreSQL with the extension uuid-ossp, and {DEBIAN} has none")
    programs, cluster, port = has[0].parent, folder / "cluster", free_port()
    cluster.mkdir(mode=0o700)
    account = UNPRIVILEGED if os.geteuid() == 0 else None
    if account:
        shutil.chown(cluster, account)
    run = {"user": account, "cwd": "/", "env": {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}}
    words = [programs / "initdb", "-D", cluster, "--username=bench", "--auth=trust", "--encoding=UTF8", "--locale=C"]
    made = subprocess.run(words, **run, capture_output=True, text=True, check=False)  # type: ignore[call-overload]
    if made.returncode:
        raise Unable(f"initdb fails: {made.stderr.strip().splitlines()[-1]}")
    pairs = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "shared_buffers": "128MB"}
    options = [word for name, value in pairs.items() for word in ("-c", f"{name}={value}")]
    with (folder / "cluster.log").open("wb") as output:
        server: subprocess.Popen[bytes] = subprocess.Popen(
            [programs / "postgres", "-D", cluster, *options],
            **run,  # type: ignore[call-overload]
            stdout=output,
            stderr=output,
        )
    try:
        yield database_on(port, server), programs.parts[-2]
    finally:
        stop(server)


def database_on(port: int, server: subprocess.Popen[bytes]) -> str:
    """The address of a new database, as soon as the server makes one.

    Raises:
        Unable: the server ends.
    """
    while server.poll() is None:
        try:
            with psycopg.connect(f"postgresql://bench@127.0.0.1:{port}/postgres", autocommit=True) as connection:
                connection.execute("CREATE DATABASE bench")
        except psycopg.Error:
            time.sleep(0.1)
        else:
            return f"postgresql://bench@127.0.0.1:{port}/bench"
    raise Unable("PostgreSQL does not start")
