"""What `benchmarks.run_faults` kills: a PostgreSQL that can be restarted, and the Ragstone processes on it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from app.cluster import end_leftovers, prepare
from app.postgres import address, answers, serve, stop
from app.premises import free_port
from benchmarks.fault_graph import FILE
from benchmarks.ingest import NOWHERE
from benchmarks.nursery import Nursery

START_S = 120.0


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
    """A Ragstone process, with its folder and its log."""

    url: str
    env: Mapping[str, str]
    log: Path
    process: psutil.Process | None = None


class Sites:
    """The processes, which share a database and the file of the effects."""

    def __init__(self, nursery: Nursery, sites: list[Site], effects: Path) -> None:
        self._nursery = nursery
        self.all = sites
        self.effects = effects

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, folder: Path, nursery: Nursery, url: str, env: Mapping[str, str], number: int = 2
    ) -> AsyncIterator[Sites]:
        """So many processes, none of them started; those that run are ended when the block ends."""
        effects, made = folder / "effects", []
        for place in range(number):
            port, data = free_port(), folder / f"site-{place}"
            data.mkdir()
            told = {
                "DATA_DIR": str(data),
                "DATABASE__URL": url,
                "CHAT__BASE_URL": NOWHERE,
                "API__PORT": str(port),
                "INGEST__WORKER": "false",
                FILE: str(effects),
            }
            made.append(Site(url=f"http://127.0.0.1:{port}", env=told | dict(env), log=data / "log"))
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
        site.process = self._nursery.start(site.env, site.log, ["benchmarks.site", "benchmarks.fault_graph"])

    async def start_all(self) -> None:
        """Start every process and wait until it answers."""
        for site in self.all:
            self.start(site)
        for site in self.all:
            await self.ready(site)

    async def ready(self, site: Site) -> None:
        """Wait until the process answers.

        Raises:
            RuntimeError: it ended, or does not answer; with the end of its log.
        """
        deadline = time.monotonic() + START_S
        async with httpx.AsyncClient(trust_env=False, timeout=2) as client:
            while True:
                with suppress(httpx.HTTPError):
                    if (await client.get(f"{site.url}/health/live")).status_code == httpx.codes.OK:
                        return
                assert site.process is not None
                if not site.process.is_running() or time.monotonic() > deadline:
                    raise RuntimeError("A process does not start:\n" + site.log.read_text("utf-8")[-4000:])
                await asyncio.sleep(0.05)
