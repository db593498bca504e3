"""ZIP based documents that tests make, member by member."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence

ODT = "application/vnd.oasis.opendocument.text"
PARTS = ("office", "text", "table", "drawing")
NAMESPACES = " ".join(f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in PARTS)


def make_zip(members: Mapping[str, str | bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target.getvalue()


def make_odt(body: str, *, manifest: str = "", head: str = "") -> bytes:
    opened = f"{head}<office:document-content {NAMESPACES}><office:body><office:text>"
    content = f"{opened}{body}</office:text></office:body></office:document-content>"
    return make_zip({"mimetype": ODT, "META-INF/manifest.xml": manifest, "content.xml": content})


def make_epub(
    chapters: Mapping[str, str],
    *,
    spine: Sequence[str],
    titles: Mapping[str, str] | None = None,
    encryption: str = "",
    head: str = "",
) -> bytes:
    items = "".join(
        f'<item id="i{n}" href="{name}" media-type="application/xhtml+xml"/>' for n, name in enumerate(spine)
    )
    references = "".join(f'<itemref idref="i{n}"/>' for n in range(len(spine)))
    nav = '<item id="nav" href="nav.xhtml" properties="nav" media-type="application/xhtml+xml"/>'
    links = "".join(f'<a href="{name}">{title}</a>' for name, title in (titles or {}).items())
    members: dict[str, str | bytes] = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<container><rootfile full-path="book/package.opf"/></container>',
        "book/package.opf": f"{head}<package><manifest>{nav}{items}</manifest><spine>{references}</spine></package>",
        "book/nav.xhtml": f"<html><body>{links}</body></html>",
        **{f"book/{name}": text for name, text in chapters.items()},
    }
    if encryption:
        members["META-INF/encryption.xml"] = f"<encryption>{encryption}</encryption>"
    return make_zip(members)
