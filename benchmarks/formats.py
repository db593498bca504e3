"""Every format: what becomes of real files, tricky ones among them, and what reading them costs.

    python -m benchmarks.formats --data FOLDER

Each file goes the way that an upload goes: its type is judged, a child process reads it within the default limits, and
the default chunker cuts it. Peak memory is that of the reading children together, asked for many times a second; a PDF
is read in several steps, so that its peak is that of the largest. Programs that a child starts (tesseract) count too.
To the files of the folder comes a PDF of 619 pages that is made on the spot.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import psutil

from benchmarks.report import Report, circumstances, parser, publish, temporary_folder
from core.domain import DocumentId, LoadedDocument
from core.errors import PlatformError
from core.settings import Settings
from ingest.chunking.chunker import open_chunker
from ingest.chunking.spec import StructureSpec
from ingest.load import Loader, open_loader
from ingest.media import HEAD_BYTES, detect
from ingest.options import read_options
from models.embedder import open_embedder

LONG_PAGES = 619
ESCAPES = str.maketrans({"\\": r"\\", "(": r"\(", ")": r"\)"})
LOOK_S = 0.02
REASON_CHARS = 110
NOT_DOCUMENTS = frozenset({"manifest.json", "SOURCE.md"})


class Outcome(NamedTuple):
    """What became of a file; ``peak_mb`` is that of the children, ``total_mb`` with this process."""

    name: str
    text: str
    pages: int
    chunks: int
    characters: int
    seconds: float
    peak_mb: float
    total_mb: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Read and print; 1 when there is nothing to read."""
    where = circumstances("formats", arguments)
    options = _arguments(arguments)
    files = [path for path in sorted(options.data.glob("*")) if path.is_file() and path.name not in NOT_DOCUMENTS]
    if not files:
        print(f"There is no file in {options.data}: nothing was measured", file=sys.stderr)
        return 1
    with temporary_folder() as folder:
        outcomes = asyncio.run(measure([*files, long_pdf(folder / f"made__{LONG_PAGES}-pages.pdf")], Settings()))
    publish([report(outcomes)], where, options)
    return 0


def long_pdf(path: Path) -> Path:
    """Write a PDF of many pages of prose, and return where it is."""
    from pydoc_data.topics import topics

    words = " ".join(topics.values()).split()
    lines = [" ".join(words[start : start + 10]) for start in range(0, len(words), 10)]
    pages = [[lines[(number * 50 + line) % len(lines)] for line in range(50)] for number in range(LONG_PAGES)]
    path.write_bytes(text_pdf(pages))
    return path


def text_pdf(pages: Sequence[Sequence[str]]) -> bytes:
    """A PDF with the lines on its pages, from top to bottom, in Helvetica."""
    font = b"<< /Font << /F << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>"
    kids = b" ".join(b"%d 0 R" % (4 + 2 * n) for n in range(len(pages)))
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Count %d /Kids [%s] >>" % (len(pages), kids)]
    for lines in pages:
        shown = [line.translate(ESCAPES).encode("latin-1", "replace") for line in lines]
        stream = b"BT /F 10 Tf 14 TL 50 780 Td\n" + b"\n".join(b"(%s) Tj T*" % line for line in shown) + b"\nET"
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
        head = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents %d 0 R /Resources %s >>"
        objects.append(head % (len(objects), font))
    body, table = b"%PDF-1.4\n", b"0000000000 65535 f \n"
    for number, content in enumerate(objects, 1):
        table += b"%010d 00000 n \n" % len(body)
        body += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    size = len(objects) + 1
    end = b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (size, len(body))
    return body + b"xref\n0 %d\n" % size + table + end


async def measure(files: Sequence[Path], settings: Settings) -> list[Outcome]:
    """What becomes of each file, one after the other."""
    found, texts = [], []
    limits = settings.ingest
    async with open_loader(
        timeout_s=limits.load_timeout_s, memory_mb=limits.load_memory_mb, options=read_options(limits)
    ) as loader:
        for path in files:
            one, loaded = await outcome(loader, path)
            found.append(one)
            texts.append(loaded)
            print(f"{one.name}: {one.text}, {one.seconds:.1f} s", flush=True)
    # Only now: the embedder takes memory that has nothing to do with reading.
    async with open_embedder(settings.embedding) as embedder:
        chunker = open_chunker(StructureSpec(), embedder)
        counts = [0 if text is None else len(await chunker.chunk(text, DocumentId(uuid4()))) for text in texts]
    return [one._replace(chunks=count) for one, count in zip(found, counts, strict=True)]


async def outcome(loader: Loader, path: Path) -> tuple[Outcome, LoadedDocument | None]:
    """Read a file, and look at the memory meanwhile."""
    peak = [0.0, 0.0]
    watcher = asyncio.create_task(watch(peak))
    start = time.perf_counter()
    loaded: LoadedDocument | None = None
    try:
        with path.open("rb") as file:
            # The samples carry the name of the project that they come from in front of their own.
            media_type = detect(path.name.rpartition("__")[2], file.read(HEAD_BYTES))
        loaded = await loader.load(path, media_type)
        text = "; ".join(["text", *loaded.warnings])
    except PlatformError as error:
        text = f"refused: {error}"
    finally:
        seconds = time.perf_counter() - start
        watcher.cancel()
    pages = len(loaded.pages) if loaded is not None else 0
    characters = len(loaded.text) if loaded is not None else 0
    return Outcome(path.name, text, pages, 0, characters, seconds, *peak), loaded


async def watch(peak: list[float]) -> None:
    """Keep the largest memory of the children, and of them with this process, in MB."""
    own = psutil.Process()
    while True:
        children = sum(_resident(child) for child in _readers(own))
        peak[0] = max(peak[0], children / 1e6)
        peak[1] = max(peak[1], (children + _resident(own)) / 1e6)
        await asyncio.sleep(LOOK_S)


def report(outcomes: Sequence[Outcome]) -> Report:
    """The table, a row for each file."""
    rows = [
        [
            one.name,
            _cell(one.text),
            str(one.pages or ""),
            str(one.chunks or ""),
            f"{one.seconds:.1f}",
            f"{one.peak_mb:.0f}",
        ]
        for one in outcomes
    ]
    largest = max(outcomes, key=lambda one: one.total_mb)
    read = sum(one.chunks > 0 for one in outcomes)
    note = (
        f"{len(outcomes)} files, {read} read and {len(outcomes) - read} refused. Most memory of the children together "
        f"with the process that asked: {largest.total_mb:.0f} MB ({largest.name})."
    )
    return Report(
        section="formats",
        header=["file", "outcome", "pages", "chunks", "seconds", "peak MB"],
        rows=rows,
        notes=[note],
        figures=[one._asdict() for one in outcomes],
    )


def _cell(text: str) -> str:
    short = text if len(text) <= REASON_CHARS else text[:REASON_CHARS].rsplit(" ", 1)[0] + " …"
    return short.replace("|", "\\|")


def _readers(own: psutil.Process) -> list[psutil.Process]:
    """The children that read, and what they started: they are forked by a server, which is a child of ours."""
    try:
        return [inner for child in own.children() for inner in child.children(recursive=True)]
    except psutil.Error:
        return []


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    made = parser("formats", "What becomes of the files of a folder, and what reading them costs.")
    made.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="a folder of documents")
    return made.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
