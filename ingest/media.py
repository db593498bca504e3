"""What a file is, from its name and its first bytes; and a name that is safe to keep."""

from __future__ import annotations

import mimetypes
import re
import unicodedata
from pathlib import PurePosixPath

from core.errors import InvalidInput, UnreadableDocument, UnsupportedType
from ingest.encoding import is_binary

PDF = "application/pdf"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
HTML = "text/html"
MARKDOWN = "text/markdown"
PLAIN = "text/plain"

HEAD_BYTES = 8192  # how much of a file `detect` wants to see
NAME_BYTES = 255

ACCEPTED = "Upload a PDF, DOCX, HTML, Markdown or plain-text file."
SUFFIXES = {
    ".pdf": PDF,
    ".docx": DOCX,
    **dict.fromkeys((".html", ".htm", ".xhtml"), HTML),
    **dict.fromkeys((".md", ".markdown", ".mdown", ".mkd"), MARKDOWN),
}
# Text to the eye of mimetypes or of nobody, but plain text all the same.
PLAIN_SUFFIXES = frozenset(
    ".txt .text .log .rst .adoc .org .tex .bib .csv .tsv .json .jsonl .ndjson .xml .yaml .yml .toml .ini .cfg .conf "
    ".env .sql .py .pyi .js .mjs .cjs .jsx .ts .tsx .css .scss .java .kt .scala .c .h .cc .cpp .hpp .cs .go .rs .rb "
    ".php .pl .lua .r .m .swift .sh .bash .zsh .fish .ps1 .bat .diff .patch .proto .graphql .tf .srt .vtt".split()
)
# Office files, and files in letters that do not say what a person would read in them.
REFUSED_SUFFIXES = frozenset(
    ".doc .xls .xlsx .ppt .pptx .odt .ods .odp .epub .msg .rtf .eml .mht .mhtml .ps .eps .svg .ipynb .pem".split()
)
MAGIC = (
    (b"\xd0\xcf\x11\xe0", "an old Microsoft Office file or an encrypted one"),
    (b"PK\x03\x04", "a ZIP archive or an Office file"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"{\\rtf", "an RTF file"),
    (b"MZ", "a Windows program"),
    (b"\x7fELF", "a Linux program"),
)
DIRECTIONS = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def detect(name: str, head: bytes) -> str:
    """The media type of a file by its name and its first `HEAD_BYTES` bytes.

    Raises:
        UnsupportedType: nothing here reads that type of file.
        UnreadableDocument: the file is empty, or not what its name says.
    """
    suffix = PurePosixPath(name).suffix.lower()
    if not head:
        raise UnreadableDocument(f"{name!r} is empty. Upload a file that holds text.")
    if suffix == ".pdf" or head.startswith(b"%PDF-"):
        return _pdf(name, head)
    if suffix == ".docx" or _is_word_archive(head):
        return _docx(name, head)
    if not _may_be_text(suffix) or head.startswith(b"{\\rtf"):
        raise UnsupportedType(f"{name!r} is of a type that cannot be read. {ACCEPTED}")
    if is_binary(head):
        raise UnsupportedType(f"{name!r} looks like {_look(head)}, which cannot be read. {ACCEPTED}")
    return SUFFIXES.get(suffix) or (HTML if _is_markup(suffix, head) else PLAIN)


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


def _pdf(name: str, head: bytes) -> str:
    # Readers allow rubbish before the header, within the first kilobyte.
    if b"%PDF-" in head[:1024]:
        return PDF
    raise UnreadableDocument(
        f"{name!r} is not a PDF: it looks like {_look(head)}. Upload the real PDF, or give the file the "
        "extension of what it is."
    )


def _docx(name: str, head: bytes) -> str:
    if head.startswith(b"PK\x03\x04"):
        return DOCX
    hint = (
        "Save it as .docx without a password and upload it again."
        if head.startswith(MAGIC[0][0])
        else "Upload the real DOCX, or give the file the extension of what it is."
    )
    raise UnreadableDocument(f"{name!r} is not a DOCX: it looks like {_look(head)}. {hint}")


def _is_word_archive(head: bytes) -> bool:
    return head.startswith(b"PK\x03\x04") and b"word/document.xml" in head


def _may_be_text(suffix: str) -> bool:
    """Whether the extension leaves it open that the file is text; the bytes then decide."""
    if suffix in SUFFIXES or suffix in PLAIN_SUFFIXES:
        return True
    if suffix in REFUSED_SUFFIXES:
        return False
    # Only the built-in table: what is accepted must not depend on the machine's /etc/mime.types.
    kind, packed = mimetypes.MimeTypes(filenames=()).guess_type("file" + suffix)
    return packed is None and (kind is None or kind.startswith("text/"))


def _is_markup(suffix: str, head: bytes) -> bool:
    start = head[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return suffix not in PLAIN_SUFFIXES and start.startswith((b"<!doctype html", b"<html"))


def _look(head: bytes) -> str:
    for magic, words in MAGIC:
        if head.startswith(magic):
            return words
    if head[:1024].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "a web page"
    return "binary data" if is_binary(head) else "plain text"
