"""Bytes to a `LoadedDocument`, by media type; and the child process in which that happens.

A file comes from anybody: what reads it may crash, hang, or eat all memory, and must take nothing with it.
"""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import resource
import signal
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pebble import ProcessExpired, ProcessPool

from core.domain import LoadedDocument
from core.errors import PlatformError, Unavailable, UnreadableDocument, UnsupportedType
from ingest import media
from ingest.formats.book import load_epub
from ingest.formats.commonmark import load_markdown
from ingest.formats.delimited import load_csv
from ingest.formats.latex import load_latex
from ingest.formats.mail import load_eml
from ingest.formats.markup import load_xml
from ingest.formats.notebook import load_notebook
from ingest.formats.opendocument import load_odt
from ingest.formats.outlook import load_msg
from ingest.formats.pdf import load_pdf
from ingest.formats.picture import load_picture
from ingest.formats.plain import load_plain
from ingest.formats.records import load_json, load_jsonl
from ingest.formats.richtext import load_rtf
from ingest.formats.sheets import load_xlsx
from ingest.formats.slides import load_pptx
from ingest.formats.source import load_source
from ingest.formats.web import load_html
from ingest.formats.word import load_docx
from ingest.options import ReadOptions

Read = Callable[[Path, str, ReadOptions], LoadedDocument]

LOADERS: dict[str, Callable[[Path], LoadedDocument]] = {
    media.PDF: load_pdf,
    media.DOCX: load_docx,
    media.PPTX: load_pptx,
    media.XLSX: load_xlsx,
    media.ODT: load_odt,
    media.EPUB: load_epub,
    media.RTF: load_rtf,
    media.MSG: load_msg,
    media.EML: load_eml,
    media.HTML: load_html,
    media.MARKDOWN: load_markdown,
    media.CSV: load_csv,
    media.JSON: load_json,
    media.JSONL: load_jsonl,
    media.NOTEBOOK: load_notebook,
    media.XML: load_xml,
    media.LATEX: load_latex,
    media.CODE: load_source,
    media.PLAIN: load_plain,
}
RECOGNISING: dict[str, Callable[[Path, ReadOptions], LoadedDocument]] = {
    **dict.fromkeys((media.PNG, media.JPEG, media.TIFF, media.WEBP), load_picture),
}
SIGNAL_OF_PARENTS_DEATH = 1  # prctl(2): PR_SET_PDEATHSIG
AGAIN = "Open it in the program that made it, save it again and upload the new file."


def load(path: Path, media_type: str, options: ReadOptions | None = None) -> LoadedDocument:
    """Read a document with the loader of its media type.

    Raises:
        UnsupportedType: there is no loader for the type.
        UnreadableDocument: the bytes cannot be read as that type, or hold no text, or too much.
    """
    chosen = options or ReadOptions()
    try:
        loaded = _read(path, media_type, chosen)
    except (PlatformError, FileNotFoundError, PermissionError, MemoryError):
        raise
    except RecursionError as error:
        raise UnreadableDocument(f"The file is nested too deep to be read. {AGAIN}") from error
    except Exception as error:  # a damaged file makes a parser raise anything
        raise UnreadableDocument(f"The file is damaged ({type(error).__name__}). {AGAIN}") from error
    if len(loaded.text) > chosen.max_chars:
        raise UnreadableDocument(
            f"The file holds more than {chosen.max_chars} characters of text. Split it into smaller files, or raise "
            "INGEST__LOAD_MAX_CHARS."
        )
    return loaded


def _read(path: Path, media_type: str, options: ReadOptions) -> LoadedDocument:
    if media_type in RECOGNISING:
        return RECOGNISING[media_type](path, options)
    if media_type not in LOADERS:
        raise UnsupportedType(f"Files of type {media_type!r} cannot be read. {media.ACCEPTED}")
    return LOADERS[media_type](path)


class Loader:
    """Reads documents in child processes with limits; see `open_loader`."""

    def __init__(self, *, timeout_s: float, memory_mb: int, processes: int, read: Read, options: ReadOptions) -> None:
        self._timeout_s = timeout_s
        self._memory_mb = memory_mb
        self._processes = processes
        self._read = read
        self._options = options
        self._pool: ProcessPool | None = None
        self._opening = asyncio.Lock()
        self._running: set[Future[LoadedDocument]] = set()

    async def load(self, path: Path, media_type: str) -> LoadedDocument:
        """Read a document; cancelling the call ends the child that works on it.

        Raises:
            UnsupportedType: there is no loader for the type.
            UnreadableDocument: the bytes cannot be read, or not within the limits of time and memory.
            Unavailable: the children do not start.
            OSError: there is no such file.
        """
        try:
            return await self._attempt(path, media_type)
        except BrokenProcessPool:
            # The pool takes every reading down with it, the innocent ones too: each gets a second chance.
            try:
                return await self._attempt(path, media_type)
            except BrokenProcessPool as error:
                raise Unavailable(
                    "The processes that read documents do not start. The error output says why; then retry."
                ) from error

    async def start(self) -> None:
        """Start the children before the first document comes."""
        await self._ready()

    async def close(self) -> None:
        """End the children; readings that are under way are cancelled."""
        for future in tuple(self._running):
            future.cancel()
        if self._pool is not None:
            pool, self._pool = self._pool, None
            await asyncio.to_thread(_stop, pool)

    async def _attempt(self, path: Path, media_type: str) -> LoadedDocument:
        pool = await self._ready()
        try:
            future: Future[LoadedDocument] = pool.schedule(
                self._read, args=(path, media_type, self._options), timeout=self._timeout_s
            )
        except RuntimeError as error:
            raise BrokenProcessPool from error
        self._running.add(future)
        try:
            return await asyncio.wrap_future(future)
        except TimeoutError as error:
            raise UnreadableDocument(
                f"Reading the file took longer than {self._timeout_s:g} s. Split it into smaller files, or raise "
                "INGEST__LOAD_TIMEOUT_S."
            ) from error
        except MemoryError as error:
            raise UnreadableDocument(
                f"Reading the file took more than {self._memory_mb} MB of memory. Split it into smaller files, or "
                "raise INGEST__LOAD_MEMORY_MB."
            ) from error
        except ProcessExpired as error:
            raise UnreadableDocument(self._crashed(_reason(error.exitcode))) from error
        finally:
            self._running.discard(future)

    async def _ready(self) -> ProcessPool:
        async with self._opening:
            if self._pool is None or not self._pool.active:
                broken, self._pool = self._pool, await asyncio.to_thread(self._open)
                if broken is not None:
                    await asyncio.to_thread(_stop, broken)
            return self._pool

    def _open(self) -> ProcessPool:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["ingest.preload"])
        pool = ProcessPool(self._processes, initializer=_restrict, initargs=(self._memory_mb,), context=context)
        assert pool.active  # noqa: S101 -- asking is what starts it
        return pool

    def _crashed(self, reason: str) -> str:
        return (
            f"The file crashed its reader{reason}: it is damaged, or needs more than {self._memory_mb} MB of memory. "
            + AGAIN
        )


@asynccontextmanager
async def open_loader(
    *,
    timeout_s: float,
    memory_mb: int,
    processes: int = 1,
    read: Read = load,
    options: ReadOptions | None = None,
) -> AsyncIterator[Loader]:
    """A loader whose ``processes`` children read one document each, within ``timeout_s`` seconds and ``memory_mb`` MiB.

    A child that hangs, crashes or takes too much is ended and replaced; the others go on. ``read`` must be a function
    that a child can import.
    """
    loader = Loader(
        timeout_s=timeout_s,
        memory_mb=memory_mb,
        processes=processes,
        read=read,
        options=options or ReadOptions(),
    )
    try:
        await loader.start()
        yield loader
    finally:
        await loader.close()


def _stop(pool: Any) -> None:
    pool.stop()
    pool.join()


def _reason(exitcode: int) -> str:
    if exitcode >= 0:
        return ""
    try:
        return f" ({signal.Signals(-exitcode).name})"
    except ValueError:
        return f" (signal {-exitcode})"


def _restrict(memory_mb: int) -> None:
    """In the child: die at once when told to or when the parent is gone, leave no core, stay within the memory."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(SIGNAL_OF_PARENTS_DEATH, signal.SIGKILL)
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _limit(resource.RLIMIT_DATA, memory_mb << 20)
    _limit(resource.RLIMIT_AS, mapped + (memory_mb << 20))


def _limit(kind: int, size: int) -> None:
    _, hard = resource.getrlimit(kind)
    limit = size if hard == resource.RLIM_INFINITY else min(size, hard)
    resource.setrlimit(kind, (limit, limit))
