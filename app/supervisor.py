"""`make run`: one process that starts every part in order, keeps it running, and stops in reverse order."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from pydantic_core import Url

from app.child import Child
from app.cluster import Cluster, prepare
from app.keys import ensure_first_key, issue_session_key
from app.parts import Part, address, api_part, chat_part, database_part, ui_part
from app.postgres import address as database_address
from app.premises import check_ports, check_room, free_port, hold_data_dir
from app.record import Record, end_recorded
from core.database import migrate, open_pool
from core.errors import Unavailable
from core.settings import Settings

PROGRESS_EVERY_S = 3.0
PATIENCE_S = 60.0  # after which the addresses are told although something is not ready
TRIM_EVERY_S = 60.0


def supervise(settings: Settings, say: Callable[[str], None]) -> int:
    """Run everything until a signal asks to stop; return the exit status.

    Raises:
        Unavailable: something that must hold before the start does not, or the database does not start.
    """
    settings = settings.model_copy(update={"data_dir": settings.data_dir.absolute()})
    with hold_data_dir(settings.data_dir):
        for name in end_recorded(settings.data_dir / "run" / "supervisor.json"):
            say(f"Ended {name}, which was left over from an earlier start.")
        check_room(settings)
        check_ports(settings)
        return asyncio.run(Supervisor(settings, say).run())


class Supervisor:
    """The parts of one installation; ``settings.data_dir`` is absolute and held by this process."""

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        self._born = time.monotonic()
        self._settings = settings
        self._say = say
        self._run_dir = settings.data_dir / "run"
        self._record = Record(self._run_dir / "supervisor.json", say)
        self._children: list[Child] = []
        self._cluster: Cluster | None = None
        self._stop = asyncio.Event()
        self._forced = False
        self._told = False
        self._first_key: str | None = None

    async def run(self) -> int:
        """Start, serve, stop; 0 after an orderly stop, 130 after a forced one."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_signal, number)
        serving = asyncio.create_task(self._serve())
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
        finally:
            serving.cancel()
            stopping.cancel()
            await asyncio.wait([serving])
            await self._stop_all()
        return 130 if self._forced else 0

    def _on_signal(self, number: signal.Signals) -> None:
        if not self._stop.is_set():
            self._say("Stopping; press Ctrl-C again to end everything at once.")
            self._stop.set()
        elif number is signal.SIGINT:
            self._forced = True
            for child in self._children:
                child.kill()

    async def _serve(self) -> None:
        settings = await self._open_database()
        session_key = await self._prepare_database(settings)
        if settings.chat.base_url is None:
            settings = self._start_chat(settings)
        self._say(f"Starting the API on {address(settings.api.host, settings.api.port)}")
        self._start(api_part(settings))
        if settings.ui.enabled:
            self._say(f"Starting the user interface on {address(settings.ui.host, settings.ui.port)}")
            self._start(ui_part(settings, session_key))
        await self._wait_until_ready()
        self._tell()
        self._say(f"Ready after {time.monotonic() - self._born:.1f} s. Ctrl-C stops everything.")
        while True:
            await asyncio.sleep(TRIM_EVERY_S)
            for child in self._children:
                await asyncio.to_thread(child.trim_log)

    async def _open_database(self) -> Settings:
        """The settings with the address of a database that answers; the embedded one is started."""
        if self._settings.database.url is not None:
            return self._settings
        self._say(f"Starting PostgreSQL on {self._settings.data_dir / 'postgres'}")
        self._cluster = await asyncio.to_thread(prepare, self._settings.data_dir)
        child = self._start(database_part(self._cluster))
        await first_of(child.ready, child.died)
        if not child.ready.is_set():
            raise Unavailable(f"PostgreSQL does not start.\n{child.tail()}")
        return with_urls(self._settings, database=database_address(self._cluster.sockets))

    async def _prepare_database(self, settings: Settings) -> str:
        """Migrate, and make the keys; return the one of the user interface."""
        async with refusals_explained(), open_pool(settings.database) as pool:
            if names := await migrate(pool):
                self._say(f"Applied {len(names)} database migration(s)")
            self._first_key = await ensure_first_key(pool)
            return await issue_session_key(pool, f"{socket.gethostname()}:{settings.ui.port}")

    def _start_chat(self, settings: Settings) -> Settings:
        port, status_file = free_port(), self._run_dir / "chat.json"
        status_file.unlink(missing_ok=True)
        self._say(f"Starting the chat model {settings.chat.model}")
        self._start(chat_part(settings, port, status_file))
        return with_urls(settings, chat=f"http://127.0.0.1:{port}/v1")

    def _start(self, part: Part) -> Child:
        child = Child(part, self._settings.data_dir / "logs", self._record, self._say)
        self._children.append(child)
        child.start()
        return child

    async def _wait_until_ready(self) -> None:
        """Tell what the parts wait for, until they all answer."""
        told: dict[str, str] = {}
        next_line = time.monotonic() + PROGRESS_EVERY_S
        while waiting := [child for child in self._children if not child.ready.is_set()]:
            if time.monotonic() > next_line:
                next_line = time.monotonic() + PROGRESS_EVERY_S
                self._tell_progress({child.part.title: child.waits_for or "starting" for child in waiting}, told)
            if time.monotonic() > self._born + PATIENCE_S:
                self._tell()
            await asyncio.sleep(0.1)

    def _tell_progress(self, news: dict[str, str], told: dict[str, str]) -> None:
        for title, waits_for in news.items():
            if told.get(title) != waits_for:
                told[title] = waits_for
                self._say(f"{title}: {waits_for}")

    def _tell(self) -> None:
        """Say where everything is, and the first key when it was made now; only once."""
        if not self._told:
            self._told = True
            settings = self._settings
            self._say(f"\n  API             {address(settings.api.host, settings.api.port)}")
            if settings.ui.enabled:
                self._say(f"  User interface  {address(settings.ui.host, settings.ui.port)}")
            self._say_key()
            self._say("")

    def _say_key(self) -> None:
        if self._first_key is not None:
            self._say(f"  API key         {self._first_key}  (keep it: it is not shown again)")
        self._first_key = None

    async def _stop_all(self) -> None:
        self._say_key()
        for child in reversed(self._children):
            await child.stop()
            self._say(f"Stopped: {child.part.title}")
        if self._cluster is not None:
            self._cluster.close()
        self._record.remove()


def with_urls(settings: Settings, *, database: str | None = None, chat: str | None = None) -> Settings:
    """The settings with the addresses of parts that were started here."""
    sections: dict[str, Any] = {}
    if database is not None:
        sections["database"] = settings.database.model_copy(update={"url": Url(database)})
    if chat is not None:
        sections["chat"] = settings.chat.model_copy(update={"base_url": Url(chat)})
    return settings.model_copy(update=sections)


@asynccontextmanager
async def refusals_explained() -> AsyncIterator[None]:
    """Turn what the database refuses, say for want of a privilege, into one line."""
    try:
        yield
    except psycopg.Error as error:
        reason = error.diag.message_primary or type(error).__name__
        raise Unavailable(f"The database refuses what the start needs: {reason}. Check DATABASE__URL.") from error


async def first_of(*events: asyncio.Event) -> None:
    """Wait until one of the events is set."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
