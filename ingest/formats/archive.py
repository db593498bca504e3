"""ZIP archives of office formats, with limits; and their XML, without entities, DTDs or the network.

Nothing is ever unpacked to disk, so a member's name is only a key: one that climbs out of the archive, or that is a
link, leads nowhere. Archives within the archive are left closed.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.errors import UnreadableDocument
from ingest.formats.damage import AGAIN

MOST_MEMBERS = 20_000
MOST_INFLATED = 512 << 20
MOST_MEMBER_INFLATED = 256 << 20
MOST_RATIO = 200
"""What a member may inflate to, as a multiple of its size; real office files stay below 100."""

FREE_OF_RATIO = 4 << 20  # what is this small may repeat itself as much as it likes


@contextmanager
def open_archive(path: Path, kind: str) -> Iterator[zipfile.ZipFile]:
    """The archive, checked by its directory: `zipfile` never reads more of a member than is written there.

    Raises:
        UnreadableDocument: the file is empty, no archive, encrypted, or would inflate beyond the limits.
    """
    if path.stat().st_size == 0:
        raise UnreadableDocument(f"The file is empty. Upload {kind} file that holds text.")
    try:
        with zipfile.ZipFile(path) as archive:
            _check(archive.infolist())
            yield archive
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, EOFError) as error:
        raise UnreadableDocument(f"The {kind.partition(' ')[2]} file is damaged. {AGAIN}") from error


def check_archive(path: Path, kind: str) -> None:
    """Check an archive before a library reads it.

    Raises:
        UnreadableDocument: see `open_archive`.
    """
    with open_archive(path, kind):
        pass


def parse_xml(data: bytes) -> Any:
    """The root element of an XML member, by lxml.

    Raises:
        UnreadableDocument: it is not well-formed.
    """
    from lxml import etree

    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, huge_tree=False, recover=False
    )
    try:
        return etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise UnreadableDocument(f"The file is damaged: it holds XML that is not well-formed. {AGAIN}") from error


def _check(members: list[zipfile.ZipInfo]) -> None:
    if len(members) > MOST_MEMBERS:
        raise UnreadableDocument(f"The file holds more than {MOST_MEMBERS} parts: it looks like a zip bomb.")
    if any(member.flag_bits & 1 for member in members):
        raise UnreadableDocument("The file is encrypted: remove the password and upload it again.")
    if sum(member.file_size for member in members) > MOST_INFLATED or any(map(_is_bomb, members)):
        raise UnreadableDocument(
            f"The file would inflate beyond {MOST_INFLATED >> 20} MB, or to more than {MOST_RATIO} times its size: it "
            "looks like a zip bomb. Split it into smaller files."
        )


def _is_bomb(member: zipfile.ZipInfo) -> bool:
    if member.file_size > MOST_MEMBER_INFLATED:
        return True
    return member.file_size > FREE_OF_RATIO and member.file_size > MOST_RATIO * max(1, member.compress_size)
