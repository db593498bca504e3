from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import resource
import zipfile
from pathlib import Path

import gguf
import numpy as np
import pytest

from core.errors import Unavailable
from models.catalog import CatalogEntry, HubFile, Quantisation, Wheel, Wheels
from models.serving import hub, wheels
from models.serving.disk import writing_to
from models.serving.fetch import prepare
from models.serving.progress import Progress, megabytes
from models.serving.requantise import requantise
from models.serving.source import SourceFailed

HUB = HubFile(kind="hub", repository="owner/small", revision="0" * 40, file="small.gguf")


def wheel(folder: Path, n: int, content: bytes) -> tuple[Wheel, Path]:
    part = Wheel(name=f"part-{n}", version="1.0", member=f"part_{n}/data/{n}.bin")
    path = folder / f"part_{n}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(part.member, content)
    return part, path


def entry_of(content: bytes, *sources: HubFile | Wheels) -> CatalogEntry:
    return CatalogEntry(
        name="small",
        base="owner/Small",
        licence="Apache-2.0",
        file="small.gguf",
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        context=512,
        tools="none",
        sources=list(sources),
    )


def write_model(path: Path, *, tied: bool) -> dict[str, np.ndarray]:
    """A GGUF file with one matrix in each kind that matters; its weights by name."""
    random = np.random.default_rng(1)
    shapes = {"token_embd.weight": (64, 32), "blk.0.ffn_up.weight": (96, 32), "output_norm.weight": (32,)}
    weights = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    if not tied:
        weights["output.weight"] = weights["token_embd.weight"]
    writer = gguf.GGUFWriter(path, arch="llama")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q5_0)
    writer.add_token_list(["a", "ü", "語"])
    writer.add_chat_template("{{ messages }}")
    for name, values in weights.items():
        kind = gguf.GGMLQuantizationType.F32 if values.ndim == 1 else gguf.GGMLQuantizationType.Q5_0
        writer.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return weights


@pytest.mark.parametrize(("quantisation", "error"), [("Q4_0", 0.12), ("Q8_0", 0.06)])
def test_requantised_matrices_keep_their_weights(tmp_path: Path, quantisation: Quantisation, error: float) -> None:
    weights = write_model(tmp_path / "small.gguf", tied=True)
    requantise(tmp_path / "small.gguf", tmp_path / "out.gguf", quantisation)
    for tensor in gguf.GGUFReader(tmp_path / "out.gguf").tensors:
        expected = "F32" if tensor.name == "output_norm.weight" else quantisation
        assert tensor.tensor_type.name == expected
        read = gguf.dequantize(tensor.data, tensor.tensor_type)
        assert np.sqrt(np.mean((read - weights[tensor.name]) ** 2)) < error
    assert not (tmp_path / "out.gguf.part").exists()


def test_requantising_copies_the_metadata_and_names_the_new_kind(tmp_path: Path) -> None:
    write_model(tmp_path / "small.gguf", tied=True)
    requantise(tmp_path / "small.gguf", tmp_path / "out.gguf", "Q8_0")
    fields = gguf.GGUFReader(tmp_path / "out.gguf").fields
    assert fields["tokenizer.ggml.tokens"].contents() == ["a", "ü", "語"]
    assert fields["tokenizer.chat_template"].contents() == "{{ messages }}"
    assert fields["general.architecture"].contents() == "llama"
    assert fields["general.file_type"].contents() == gguf.LlamaFileType.MOSTLY_Q8_0


def test_an_embedding_that_is_only_looked_up_is_copied(tmp_path: Path) -> None:
    write_model(tmp_path / "small.gguf", tied=False)
    requantise(tmp_path / "small.gguf", tmp_path / "out.gguf", "Q4_0")
    kinds = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(tmp_path / "out.gguf").tensors}
    assert kinds["token_embd.weight"] == "Q5_0"
    assert kinds["output.weight"] == "Q4_0"


def test_a_disk_that_fills_up_while_requantising_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    write_model(tmp_path / "small.gguf", tied=True)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, limits[1]))
    try:
        with pytest.raises(Unavailable, match="File too large"):
            requantise(tmp_path / "small.gguf", tmp_path / "out.gguf", "Q8_0")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["small.gguf"]


def test_what_is_no_model_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "small.gguf").write_bytes(b"GGUF or not" * 10)
    with pytest.raises(Unavailable, match=r"'small\.gguf' cannot be requantised to Q4_0"):
        requantise(tmp_path / "small.gguf", tmp_path / "out.gguf", "Q4_0")
    assert [path.name for path in tmp_path.iterdir()] == ["small.gguf"]


def test_members_are_joined_in_the_order_of_the_catalog(tmp_path: Path) -> None:
    made = [wheel(tmp_path, n, text) for n, text in ((2, b"hello "), (1, b"world"))]
    source = Wheels(kind="wheels", size=1, wheels=[part for part, _ in made])
    wheels.join(source, [path for _, path in made], tmp_path / "small.part", 11)
    assert (tmp_path / "small.part").read_bytes() == b"hello world"


def test_wheels_that_hold_more_than_the_file_are_not_unpacked(tmp_path: Path) -> None:
    part, path = wheel(tmp_path, 1, bytes(5000))
    source = Wheels(kind="wheels", size=1, wheels=[part])
    with pytest.raises(SourceFailed, match="more than the file's size"):
        wheels.join(source, [path], tmp_path / "small.part", 4999)


def test_a_wheel_without_its_member_and_a_damaged_one_are_named(tmp_path: Path) -> None:
    part, path = wheel(tmp_path, 1, b"x")
    other = part.model_copy(update={"member": "part_1/data/other.bin"})
    with pytest.raises(SourceFailed, match=r"'part_1-1\.0-py3-none-any\.whl' is damaged or does not hold"):
        wheels.join(Wheels(kind="wheels", size=1, wheels=[other]), [path], tmp_path / "small.part", 1)
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(SourceFailed, match=r"'part_1-1\.0-py3-none-any\.whl' is damaged or does not hold"):
        wheels.join(Wheels(kind="wheels", size=1, wheels=[part]), [path], tmp_path / "small.part", 1)


def test_a_hub_that_is_switched_off_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SourceFailed, match="HF_HUB_OFFLINE"):
        hub.download(HUB, tmp_path / "small.part", 10, lambda _: None)


def test_the_address_holds_the_revision_and_follows_the_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    assert hub.address(HUB) == f"https://huggingface.co/owner/small/resolve/{'0' * 40}/small.gguf"
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror.example/")
    assert hub.address(HUB).startswith("http://mirror.example/owner/small/")


def test_a_file_that_is_there_is_taken_only_with_the_right_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    entry = entry_of(b"the very file", HUB)
    (tmp_path / "small.gguf").write_bytes(b"the very file")
    assert prepare(entry, tmp_path, Progress()) == tmp_path / "small.gguf"
    (tmp_path / "small.gguf").write_bytes(b"another file!")
    with pytest.raises(Unavailable, match=r"'small' could not be fetched.*HF_HUB_OFFLINE.*sha256"):
        prepare(entry, tmp_path, Progress())


def test_a_folder_that_cannot_be_made_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable) as caught:
        prepare(entry_of(b"x", HUB), tmp_path / "file" / "models", Progress())
    assert "Cannot write to" in str(caught.value)
    assert "MODELS_DIR" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("number", "message"), [(errno.ENOSPC, "is full: free some space"), (errno.EROFS, "Read-only file system")]
)
def test_a_full_or_read_only_disk_is_said_with_what_to_do(tmp_path: Path, number: int, message: str) -> None:
    with pytest.raises(Unavailable, match=message), writing_to(tmp_path):
        raise OSError(number, os.strerror(number))


def test_a_disk_that_is_full_while_pip_writes_is_no_reason_to_try_another_source() -> None:
    log = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n"
    with pytest.raises(OSError, match="No space left on device"):
        wheels._explain(Wheel(name="part-1", version="1.0", member="part_1/1.bin"), log)


def test_the_status_file_holds_every_state_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "status.json"

    def status() -> object:
        return json.loads(path.read_text(encoding="utf-8"))

    progress = Progress(path)
    with progress.step(megabytes("downloading"), 491_400_064) as report:
        assert status() == {"status": "starting", "detail": "downloading 0 of 491 MB"}
        report(491_400_064)
        assert status() == {"status": "starting", "detail": "downloading 491 of 491 MB"}
    progress.say("loading")
    assert status() == {"status": "starting", "detail": "loading"}
    progress.ready("serving small", "http://127.0.0.1:1/v1")
    assert status() == {"status": "ready", "detail": "serving small", "url": "http://127.0.0.1:1/v1"}
    progress.failed("no")
    assert status() == {"status": "failed", "detail": "no"}
    assert [file.name for file in path.parent.iterdir()] == ["status.json"]


def test_without_a_terminal_each_tenth_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="models")
    with Progress().step(megabytes("downloading"), 100 * 10**6) as report:
        for done in range(101):
            report(done * 10**6)
    assert caplog.messages == [f"downloading {done} of 100 MB" for done in range(0, 101, 10)]
