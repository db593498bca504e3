"""What a file is, from its first bytes and its name; and a name that is safe to keep."""

from __future__ import annotations

import mimetypes
import re
import unicodedata
from pathlib import PurePosixPath

from core.errors import InvalidInput, UnreadableDocument, UnsupportedType
from ingest.encoding import is_binary

OFFICE = "application/vnd.openxmlformats-officedocument"
PDF = "application/pdf"
DOCX = f"{OFFICE}.wordprocessingml.document"
PPTX = f"{OFFICE}.presentationml.presentation"
XLSX = f"{OFFICE}.spreadsheetml.sheet"
ODT = "application/vnd.oasis.opendocument.text"
EPUB = "application/epub+zip"
RTF = "application/rtf"
MSG = "application/vnd.ms-outlook"
EML = "message/rfc822"
HTML = "text/html"
MARKDOWN = "text/markdown"
CSV = "text/csv"
JSON = "application/json"
JSONL = "application/jsonl"
NOTEBOOK = "application/x-ipynb+json"
XML = "application/xml"
LATEX = "application/x-tex"
CODE = "text/x-code"
PLAIN = "text/plain"
PNG, JPEG, TIFF, WEBP = "image/png", "image/jpeg", "image/tiff", "image/webp"

HEAD_BYTES = 8192  # how much of a file `detect` wants to see
NAME_BYTES = 255

ACCEPTED = (
    "Upload a PDF, DOCX, PPTX, XLSX, ODT, RTF, EPUB, HTML, Markdown, CSV, JSON, XML, e-mail (EML, MSG), notebook, "
    "LaTeX, source code or plain-text file, or a picture with text (PNG, JPEG, TIFF, WEBP)."
)
# These say what they are by their first bytes; the name is only asked where those leave it open.
ZIPPED = {".docx": DOCX, ".pptx": PPTX, ".xlsx": XLSX, ".xlsm": XLSX, ".odt": ODT, ".epub": EPUB}
PICTURES = {".png": PNG, ".jpg": JPEG, ".jpeg": JPEG, ".tif": TIFF, ".tiff": TIFF, ".webp": WEBP}
BINARY = {**ZIPPED, **PICTURES, ".pdf": PDF, ".rtf": RTF, ".msg": MSG}
# These are text, and only the name can tell them apart.
TEXTS = {
    **dict.fromkeys((".html", ".htm", ".xhtml"), HTML),
    **dict.fromkeys((".md", ".markdown", ".mdown", ".mkd"), MARKDOWN),
    **dict.fromkeys((".csv", ".tsv"), CSV),
    **dict.fromkeys((".jsonl", ".ndjson"), JSONL),
    **dict.fromkeys((".eml", ".mht", ".mhtml"), EML),
    **dict.fromkeys((".tex", ".ltx", ".latex"), LATEX),
    ".json": JSON,
    ".ipynb": NOTEBOOK,
    ".xml": XML,
    **dict.fromkeys(
        ".py .pyi .js .mjs .cjs .jsx .ts .tsx .java .kt .scala .c .h .cc .cpp .hpp .cs .go .rs .rb .php .pl .lua .r "
        ".m .swift .sh .bash .zsh .fish .ps1 .bat .proto .graphql .tf .sql .css .scss".split(),
        CODE,
    ),
    # Text to the eye of mimetypes or of nobody, but plain text all the same.
    **dict.fromkeys(
        ".txt .text .log .rst .adoc .org .bib .yaml .yml .toml .ini .cfg .conf .env .diff .patch .srt .vtt".split(),
        PLAIN,
    ),
}
OLD = {".doc": ".docx", ".xls": ".xlsx", ".ppt": ".pptx"}
# Files in letters that do not say what a person would read in them, and kin of what is read that is not.
REFUSED_SUFFIXES = frozenset((*OLD, *".ods .odp .odg .xlsb .docm .pptm .ps .eps .svg .pem .key".split()))
OLE = b"\xd0\xcf\x11\xe0"
ZIP = b"PK\x03\x04"
MAGIC = (
    (OLE, "an old Microsoft Office file or an encrypted one"),
    (ZIP, "a ZIP archive or an Office file"),
    (b"%PDF-", "a PDF"),
    (b"\x89PNG\r\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"GIF8", "a GIF image"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"{\\rtf", "an RTF file"),
    (b"MZ", "a Windows program"),
    (b"\x7fELF", "a Linux program"),
)
SIGNED = {b"{\\rtf": RTF, b"\x89PNG\r\n": PNG, b"\xff\xd8\xff": JPEG, b"II*\x00": TIFF, b"MM\x00*": TIFF}
MEMBERS = (
    (b"mimetypeapplication/epub+zip", EPUB),
    (b"mimetype" + ODT.encode() + b"PK", ODT),
    (b"word/document", DOCX),
    (b"ppt/presentation", PPTX),
    (b"xl/workbook", XLSX),
)
DIRECTIONS = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
HEADER = re.compile(
    rb"(?:From |(?:Return-Path|Received|Delivered-To|Message-ID|MIME-Version|X-[\w-]+|From|To|Subject|Date): ).*\r?\n"
    rb"(?:[ \t].*\r?\n|[\w-]+:.*\r?\n){2,}",
    re.IGNORECASE,
)


def detect(name: str, head: bytes) -> str:
    """The media type of a file by its first `HEAD_BYTES` bytes, and by its name where they leave it open.

    Raises:
        UnsupportedType: nothing here reads that type of file.
        UnreadableDocument: the file is empty, or not what its name says.
    """
    suffix = PurePosixPath(name).suffix.lower()
    if not head:
        raise UnreadableDocument(f"{name!r} is empty. Upload a file that holds text.")
    if (found := _by_content(suffix, head)) is not None:
        return found
    if suffix in OLD:
        raise UnsupportedType(f"{name!r} is in an old format that cannot be read. Save it as {OLD[suffix]}.")
    if suffix in BINARY:
        raise _pretender(name, suffix, head)
    if not _may_be_text(suffix):
        raise UnsupportedType(f"{name!r} is of a type that cannot be read. {ACCEPTED}")
    if is_binary(head):
        raise UnsupportedType(f"{name!r} looks like {_look(head)}, which cannot be read. {ACCEPTED}")
    return TEXTS.get(suffix) or _text_type(head)


def clean_name(name: str) -> str:
    """The last part of a file name, without control characters, in NFC, at most 255 bytes of UTF-8.

    Raises:
        InvalidInput: nothing is left.
    """
    last = re.split(r"[/\\]", name)[-1]
    letters = "".join(c for c in last if unicodedata.category(c) not in {"Cc", "Cs"} and c not in DIRECTIONS)
    stem = " ".join(unicodedata.normalize("NFC", letters).split())
    if stem.strip(". ") == "":
        raise InvalidInput("The file has no name. Send one, for example 'report.pdf'.")
    return _shortened(stem)


def _shortened(name: str) -> str:
    encoded = name.encode()
    if len(encoded) <= NAME_BYTES:
        return name
    path = PurePosixPath(name)
    suffix = path.suffix if len(path.suffix.encode()) <= 16 else ""
    stem = encoded[: NAME_BYTES - len(suffix.encode())].decode(errors="ignore")
    return stem.rstrip() + suffix


def _by_content(suffix: str, head: bytes) -> str | None:
    """The type that the first bytes prove, or make likely enough for the name to decide."""
    # Readers allow rubbish before the header of a PDF, within the first kilobyte.
    if head.startswith(b"%PDF-") or (suffix == ".pdf" and b"%PDF-" in head[:1024]):
        return PDF
    if head.startswith(ZIP):
        return next((kind for mark, kind in MEMBERS if mark in head), ZIPPED.get(suffix))
    if head.startswith(OLE):
        return MSG if suffix == ".msg" or "__nameid_version1.0".encode("utf-16-le") in head else None
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return WEBP
    return next((kind for mark, kind in SIGNED.items() if head.startswith(mark)), None)


def _pretender(name: str, suffix: str, head: bytes) -> UnreadableDocument:
    kind = suffix[1:].upper()
    hint = f"Upload the real {kind}, or give the file the extension of what it is."
    if suffix in ZIPPED and head.startswith(OLE):
        hint = f"Save it as {suffix} without a password and upload it again."
    return UnreadableDocument(f"{name!r} is not a {kind}: it looks like {_look(head)}. {hint}")


def _may_be_text(suffix: str) -> bool:
    """Whether the extension leaves it open that the file is text; the bytes then decide."""
    if suffix in TEXTS:
        return True
    if suffix in REFUSED_SUFFIXES:
        return False
    # Only the built-in table: what is accepted must not depend on the machine's /etc/mime.types.
    kind, packed = mimetypes.MimeTypes(filenames=()).guess_type("file" + suffix)
    return packed is None and (kind is None or kind.startswith("text/"))


def _text_type(head: bytes) -> str:
    """What a text is whose name says nothing."""
    start = head[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return HTML
    if start.startswith(b"<?xml"):
        return HTML if b"<html" in start else XML
    if start.startswith((b"\\documentclass", b"\\documentstyle")):
        return LATEX
    return EML if HEADER.match(head) else PLAIN


def _look(head: bytes) -> str:
    for magic, words in MAGIC:
        if head.startswith(magic):
            return words
    if _text_type(head) == HTML:
        return "a web page"
    return "binary data" if is_binary(head) else "plain text"
