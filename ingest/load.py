"""Bytes to a `LoadedDocument`, by media type; and the child process in which that happens.

A file comes from anybody: what reads it may crash, hang, or eat all memory, and must take nothing with it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from core.domain import LoadedDocument
from core.errors import UnreadableDocument, UnsupportedType
from ingest import media
from ingest.children import ChildEnded, Children, Crashed, OutOfTime
from ingest.formats.book import load_epub
from ingest.formats.commonmark import load_markdown
from ingest.formats.damage import AGAIN, translated_damage
from ingest.formats.delimited import load_csv
from ingest.formats.docling import load_docling
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
from ingest.slices import SlicedReading

SLICE_SHARE = 5
"""A slice of a PDF may take this part of the time that the whole has."""

Read = Callable[[Path, str, ReadOptions], LoadedDocument]

LOADERS: dict[str, Callable[[Path], LoadedDocument]] = {
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


def _read_pdf(path: Path, options: ReadOptions) -> LoadedDocument:
    return (load_docling if options.docling else load_pdf)(path, options)


RECOGNISING: dict[str, Callable[[Path, ReadOptions], LoadedDocument]] = {
    media.PDF: _read_pdf,
    **dict.fromkeys((media.PNG, media.JPEG, media.TIFF, media.WEBP), load_picture),
}
"""The loaders that may use OCR."""


@translated_damage()
def load(path: Path, media_type: str, options: ReadOptions | None = None) -> LoadedDocument:
    """Read a document with the loader of its media type.

    Raises:
        UnsupportedType: there is no loader for the type.
        UnreadableDocument: the bytes cannot be read as that type, or hold no text, or too much.
    """
    chosen = options or ReadOptions()
    if media_type in RECOGNISING:
        return bounded(RECOGNISING[media_type](path, chosen), chosen)
    if media_type not in LOADERS:
        raise UnsupportedType(f"Files of type {media_type!r} cannot be read. {media.ACCEPTED}")
    return bounded(LOADERS[media_type](path), chosen)


def bounded(loaded: LoadedDocument, options: ReadOptions) -> LoadedDocument:
    """The document, when its text is not too long.

    Raises:
        UnreadableDocument: it is.
    """
    if len(loaded.text) > options.max_chars:
        raise UnreadableDocument(
            f"The file holds more than {options.max_chars} characters of text. Split it into smaller files, or raise "
            "INGEST__LOAD_MAX_CHARS."
        )
    return loaded


class Loader:
    """Reads documents in child processes with limits; see `open_loader`."""

    def __init__(self, children: Children, *, timeout_s: float, read: Read, options: ReadOptions) -> None:
        self._children = children
        self._timeout_s = timeout_s
        self._read = read
        self._options = options

    async def load(self, path: Path, media_type: str) -> LoadedDocument:
        """Read a document; cancelling the call ends the child that works on it.

        Raises:
            UnsupportedType: there is no loader for the type.
            UnreadableDocument: the bytes cannot be read, or not within the limits of time, memory and text.
            Unavailable: the children do not start.
            OSError: there is no such file.
        """
        try:
            if media_type == media.PDF and self._read is load and not self._options.docling:
                return bounded(await self._in_slices(path).load(), self._options)
            arguments = (path, media_type, self._options)
            # Recognising has a time of its own beside that of reading.
            spare = self._options.ocr_timeout_s if media_type in RECOGNISING else 0.0
            return await self._children.run(self._read, *arguments, timeout_s=self._timeout_s + spare)
        except ChildEnded as error:
            raise UnreadableDocument(f"Reading the file {error}. {_advice(error)}") from error

    def _in_slices(self, path: Path) -> SlicedReading:
        return SlicedReading(
            children=self._children,
            path=path,
            options=self._options,
            timeout_s=self._timeout_s,
            slice_timeout_s=self._timeout_s / SLICE_SHARE,
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
    children = Children(memory_mb=memory_mb, processes=processes)
    try:
        await children.start()
        yield Loader(children, timeout_s=timeout_s, read=read, options=options or ReadOptions())
    finally:
        await children.close()


def _advice(error: ChildEnded) -> str:
    if isinstance(error, Crashed):
        return f"It is damaged, or needs more memory than INGEST__LOAD_MEMORY_MB allows. {AGAIN}"
    setting = "INGEST__LOAD_TIMEOUT_S" if isinstance(error, OutOfTime) else "INGEST__LOAD_MEMORY_MB"
    return f"Split it into smaller files, or raise {setting}."
