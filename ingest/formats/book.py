"""EPUB: the chapters of the spine in order, each a section; pictures, scripts and what lies elsewhere are left out."""

from __future__ import annotations

import posixpath
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from core.domain import LoadedDocument
from core.errors import UnreadableDocument
from ingest.draft import Draft
from ingest.encoding import clean, decode
from ingest.formats.archive import open_archive, parse_xml
from ingest.formats.damage import AGAIN
from ingest.formats.web import declared_charset, write_html

CONTAINER = "META-INF/container.xml"
ENCRYPTION = "META-INF/encryption.xml"
FONTS = b"http://www.idpf.org/2008/embedding"
CHAPTERS = frozenset({"application/xhtml+xml", "text/html", "application/x-dtbook+xml"})
NO_BOOK = f"The file is no EPUB: it does not say where its chapters are. {AGAIN}"


def load_epub(path: Path) -> LoadedDocument:
    """Read a book; chapters that are missing are named in the warnings.

    Raises:
        UnreadableDocument: it is protected, damaged, a zip bomb, or holds no text.
    """
    with open_archive(path, "an EPUB") as archive:
        names = set(archive.namelist())
        if ENCRYPTION in names and _is_protected(archive.read(ENCRYPTION)):
            raise UnreadableDocument("The EPUB is protected (DRM) and cannot be read.")
        draft, missing = Draft(), []
        for title, member in _chapters(archive, names):
            if member not in names:
                missing.append(repr(posixpath.basename(member)))
                continue
            data = archive.read(member)
            write_html(draft, clean(decode(data, declared_charset(data))), title=title)
    warnings = [f"Chapters that are not in the file were left out: {', '.join(missing[:20])}."] if missing else []
    return draft.finish(warnings)


def _is_protected(data: bytes) -> bool:
    """Whether more than the fonts is encrypted."""
    root = parse_xml(data)
    methods = [element.get("Algorithm", "") for element in root.iter("{*}EncryptionMethod")]
    return any(not method.startswith((FONTS.decode(), "http://ns.adobe.com/pdf/enc")) for method in methods)


def _chapters(archive: zipfile.ZipFile, names: set[str]) -> list[tuple[str, str]]:
    """Titles, where the table of contents has them, and members of the chapters, in the order of the spine."""
    if CONTAINER not in names:
        raise UnreadableDocument(NO_BOOK)
    rootfile = parse_xml(archive.read(CONTAINER)).find(".//{*}rootfile")
    package_name = rootfile.get("full-path", "") if rootfile is not None else ""
    if package_name not in names:
        raise UnreadableDocument(NO_BOOK)
    package = parse_xml(archive.read(package_name))
    items = {item.get("id"): item for item in package.iter("{*}item")}
    titles = _titles(archive, names, package_name, items.values())
    members = []
    for reference in package.iter("{*}itemref"):
        item = items.get(reference.get("idref"))
        if item is not None and item.get("media-type") in CHAPTERS:
            members.append(_member(package_name, item.get("href", "")))
    return [(titles.get(member, ""), member) for member in members]


def _titles(archive: zipfile.ZipFile, names: set[str], package: str, items: Any) -> dict[str, str]:
    """The titles of the table of contents, by member: EPUB 3 has it as a page, EPUB 2 as an NCX."""
    titles: dict[str, str] = {}
    for item in items:
        is_page = "nav" in item.get("properties", "").split()
        member = _member(package, item.get("href", ""))
        if member not in names or not (is_page or item.get("media-type") == "application/x-dtbncx+xml"):
            continue
        try:
            root = parse_xml(archive.read(member))
        except UnreadableDocument:
            continue  # without titles a book can still be read
        links = [(a.get("href", ""), "".join(a.itertext())) for a in root.iter("{*}a")]
        for point in root.iter("{*}navPoint"):
            content, label = point.find("{*}content"), point.find("{*}navLabel")
            if content is not None and label is not None:
                links.append((content.get("src", ""), "".join(label.itertext())))
        for link, words in links:
            titles.setdefault(_member(member, link), " ".join(words.split()))
    return titles


def _member(beside: str, link: str) -> str:
    """The member that a link means; one that leads out of the archive means none that is in it."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(beside), unquote(link.partition("#")[0])))
