"""Every format that can be uploaded, from the upload to a hit of the search."""

from __future__ import annotations

import os
import shutil

import pytest

from ingest import media
from tests.conftest import Tenant
from tests.documents import wait_until_done
from tests.small_files import MAKERS, picture, small_file

NUMBERS = "one two three four five six seven eight nine ten".split()
PICTURES = {"scan.png": "PNG", "scan.jpg": "JPEG", "scan.tiff": "TIFF", "scan.webp": "WEBP"}


def word(number: int) -> str:
    """A word that nothing else holds."""
    return f"quartermaster{NUMBERS[number // 10]}{NUMBERS[number % 10]}"


async def indexed(tenant: Tenant, files: dict[str, bytes]) -> None:
    """Upload the files together, and wait until all of them can be found."""
    response = await tenant.http.post("/documents", files=[("files", item) for item in files.items()])
    assert response.status_code == 202, response.text
    documents = response.json()["documents"]
    done = [await wait_until_done(tenant.http, document["id"]) for document in documents]
    assert {one["name"]: (one["status"], one["error"]) for one in done} == dict.fromkeys(files, ("indexed", None))


async def found(tenant: Tenant, query: str) -> list[str]:
    response = await tenant.http.post("/search", json={"query": query, "mode": "lexical", "limit": 5})
    assert response.status_code == 200, response.text
    return [hit["document_name"] for hit in response.json()["hits"] if query in hit["chunk"]["text"]]


async def test_a_file_of_every_format_is_indexed_and_found_by_its_words(tenant: Tenant) -> None:
    words = {name: word(number) for number, name in enumerate(MAKERS)}
    await indexed(tenant, {name: small_file(name, f"The {word} sings.") for name, word in words.items()})
    assert {name: await found(tenant, word) for name, word in words.items()} == {name: [name] for name in words}


async def test_pictures_are_indexed_and_found_by_the_words_in_them(tenant: Tenant) -> None:
    if shutil.which("tesseract") is None:
        hint = "needs tesseract: `apt-get install tesseract-ocr`, or `.ci/run`, which installs it"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(hint)
    drawn = {
        name: f"Ferries of {port}" for name, port in zip(PICTURES, ("Tornby", "Lund", "Oslo", "Bergen"), strict=True)
    }
    await indexed(tenant, {name: picture(text, PICTURES[name]) for name, text in drawn.items()})
    for name, text in drawn.items():
        assert await found(tenant, text.split()[-1]) == [name]


def test_no_media_type_is_left_out() -> None:
    kinds = {media.detect(name, small_file(name, "x")) for name in MAKERS}
    pictures = {media.detect(name, picture("x", kind)) for name, kind in PICTURES.items()}
    every = {*media.BINARY.values(), *media.TEXTS.values()}
    assert kinds | pictures == every
