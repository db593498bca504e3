"""Small files that were damaged at random: each is read or refused, and nothing else comes out of a reader."""

from __future__ import annotations

import contextlib
import io
import random
import warnings
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.errors import InvalidInput
from ingest.load import Loader, load, open_loader
from ingest.media import HEAD_BYTES, PDF, detect
from ingest.options import ReadOptions
from tests.archives import make_zip
from tests.pdf import Words, make_pdf
from tests.small_files import MAKERS, small_file

MUTATIONS = 11  # of each small file: some 200 in all
TEXTS = [name for name in MAKERS if not name.endswith(".pdf")]
SPICE = [b"\0", b"\xff\xfe", b"<", b"&a;", b"]]>", b"{", b'"', b"\\", b"\\'ff", b"\n\n", b"99999999999", b"-1", b"\r"]


def mutated(data: bytes, chance: random.Random) -> bytes:
    """The bytes with one to eight of them cut out, repeated, replaced or put in, or cut short."""
    made = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        start = chance.randrange(len(made) + 1)
        end = start + chance.randint(0, 20)
        deed = chance.randrange(6)
        if deed == 0:
            made[start:end] = b""
        elif deed == 1:
            made[start:start] = made[start:end] * chance.randint(1, 50)
        elif deed == 2:
            made[start:end] = chance.randbytes(end - start)
        elif deed == 3 and chance.random() < 0.2:
            del made[start:]
        else:
            made[start : start + deed % 2] = chance.choice(SPICE)
    return bytes(made)


def damaged(data: bytes, chance: random.Random) -> bytes:
    """The file mutated; of an archive half the time a member of it, so that the archive itself stays whole."""
    if not data.startswith(b"PK") or chance.random() < 0.5:
        return mutated(data, chance)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members: dict[str, str | bytes] = {name: archive.read(name) for name in archive.namelist()}
    name = chance.choice([name for name in members if name.endswith((".xml", ".rels", ".opf", "a"))])
    member = members[name]
    assert isinstance(member, bytes)
    return make_zip({**members, name: mutated(member, chance)})


@pytest.mark.parametrize("name", TEXTS)
def test_a_damaged_file_is_read_or_refused(tmp_path: Path, name: str) -> None:
    whole = small_file(name, "Kerzenfels sings: größer, 1821.")
    kind = detect(name, whole[:HEAD_BYTES])
    path = tmp_path / "file"
    for seed in range(MUTATIONS):
        path.write_bytes(damaged(whole, random.Random(f"{name} {seed}")))
        # What a parser says of damage is no matter; whatever is not caught here fails the test.
        with warnings.catch_warnings(), contextlib.suppress(InvalidInput):
            warnings.simplefilter("ignore")
            loaded = load(path, kind, ReadOptions(max_chars=100_000))
            assert loaded.text.strip()
            assert loaded.blocks
    path.write_bytes(whole)
    assert "Kerzenfels" in load(path, kind).text


@pytest.fixture(scope="module")
async def loader() -> AsyncIterator[Loader]:
    async with open_loader(timeout_s=60, memory_mb=512, options=ReadOptions(ocr=False)) as opened:
        yield opened


async def test_a_damaged_pdf_is_read_or_refused_and_its_reader_goes_on(loader: Loader, tmp_path: Path) -> None:
    whole = make_pdf([[Words("Kerzenfels")], [Words("Tornby")]])
    path = tmp_path / "paper.pdf"
    for seed in range(12):
        path.write_bytes(mutated(whole, random.Random(seed)))
        with contextlib.suppress(InvalidInput):
            assert (await loader.load(path, PDF)).blocks
    path.write_bytes(whole)
    assert (await loader.load(path, PDF)).text == "Kerzenfels\n\nTornby"
