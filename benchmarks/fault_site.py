"""What `benchmarks.run_faults` kills: a PostgreSQL that can be restarted, and the Ragstone processes on it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx
import psutil

from app.cluster import end_leftovers, prepare
from app.postgres import address, answers, serve, stop
from app.premises import free_port
from benchmarks.fault_graph import FILE
from benchmarks.ingest import NOWHERE
from benchmarks.nursery import Nursery

START_S = 300.0
READY = b"the runner is ready"
Role = Literal["api", "worker", "both"]
"""What a process does: it serves the API, executes runs, or both."""


class Database:
    """The embedded PostgreSQL, which can be restarted while it is used."""

    def __init__(self, folder: Path) -> None:
        self._cluster = prepare(folder)
        self._log = folder / "postgres.log"
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The database's address, which stays the same."""
        return address(self._cluster.sockets)

    @contextmanager
    def served(self) -> Iterator[None]:
        """Serve while the block runs; enter it in the main thread."""
        self._start()
        try:
            yield
        finally:
            if self._server is not None:
                stop(self._server)
            self._cluster.close()

    def restart(self, how: signal.Signals) -> None:
        """End the server by this signal and start it again. Blocks, and everybody in this process with it."""
        assert self._server is not None
        self._server.send_signal(how)
        self._server.wait(60)
        # After a kill its children see within moments that it is gone; two servers never work on one folder.
        end_leftovers(self._cluster.folder)
        self._start()

    def _start(self) -> None:
        with self._log.open("ab") as output:
            self._server = serve(self._cluster).start(output)
        deadline = time.monotonic() + START_S
        while not answers(self._cluster):
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL does not start: {self._log.read_text('utf-8', 'replace')[-2000:]}")
            time.sleep(0.02)


@dataclass(kw_only=True)
class Site:
    """A Ragstone process, with its role and its log."""

    role: Role
    url: str
    env: Mapping[str, str]
    log: Path
    process: psutil.Process | None = None
    said: int = 0

    async def answers(self, client: httpx.AsyncClient) -> bool:
        """Whether the API answers; of a worker, whether it has said that it is ready since it was started."""
        if self.role == "worker":
            return self.log.exists() and READY in self.log.read_bytes()[self.said :]
        with suppress(httpx.HTTPError):
            return (await client.get(f"{self.url}/health/live")).status_code == httpx.codes.OK
        return False


class Sites:
    """The processes, which share a database and the file of the effects."""

    def __init__(self, nursery: Nursery, sites: list[Site], effects: Path) -> None:
        self._nursery = nursery
        self.all = sites
        self.effects = effects

    @classmethod
    @asynccontextmanager
    async def opened(cls, folder: Path, nursery: Nursery, url: str, roles: Sequence[Role]) -> AsyncIterator[Sites]:
        """A process of each role, none of them started; those that run are ended when the block ends."""
        effects, made = folder / "effects", []
        for place, role in enumerate(roles):
            port, data = free_port(), folder / f"site-{place}"
            data.mkdir()
            told = {
                "DATA_DIR": str(data),
                "DATABASE__URL": url,
                "CHAT__BASE_URL": NOWHERE,
                "API__PORT": str(port),
                "INGEST__WORKER": "false",
                # A run is given up when it has killed too many processes; here it is not the run's doing.
                "RUNS__ATTEMPTS": "1000",
                "RUNS__WORKER": str(role != "api").lower(),
                FILE: str(effects),
            }
            made.append(Site(role=role, url=f"http://127.0.0.1:{port}", env=told, log=data / "log"))
        sites = cls(nursery, made, effects)
        try:
            yield sites
        finally:
            for site in made:
                if site.process is not None:
                    with suppress(psutil.NoSuchProcess):
                        site.process.kill()
                        site.process.wait(30)

    def start(self, site: Site) -> None:
        """Start a process that does not run."""
        site.said = site.log.stat().st_size if site.log.exists() else 0
        words = ["benchmarks.site", "benchmarks.fault_graph", *([site.role] if site.role == "worker" else [])]
        site.process = self._nursery.start(site.env, site.log, words)

    async def start_all(self) -> None:
        """Start every process and wait until it answers."""
        for site in self.all:
            self.start(site)
        for site in self.all:
            await self.ready(site)

    async def ready(self, site: Site) -> None:
        """Wait until the process answers; one that ends by itself meanwhile is started again, as by a supervisor.

        Raises:
            RuntimeError: it does not answer; with the end of its log.
        """
        deadline = time.monotonic() + START_S
        async with httpx.AsyncClient(trust_env=False, timeout=2) as client:
            while not await site.answers(client):
                assert site.process is not None
                if not site.process.is_running():
                    self.start(site)
                if time.monotonic() > deadline:
                    raise RuntimeError("A process does not start:\n" + site.log.read_text("utf-8")[-4000:])
                await asyncio.sleep(0.05)
