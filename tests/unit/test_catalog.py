from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import InvalidInput
from core.settings import ChatSettings
from models.catalog import CATALOG, Wheels, read_catalog

MINIMAL = f"""
default = "small"
[[models]]
name = "small"
base = "owner/Small"
licence = "Apache-2.0"
file = "small.gguf"
sha256 = "{"a" * 64}"
size = 10
context = 512
tools = "none"
[[models.sources]]
kind = "wheels"
size = 12
wheels = [{{ name = "small-model", version = "1.0", member = "small_model/small.gguf" }}]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "catalog.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_settings_default_model_is_the_catalogs() -> None:
    assert read_catalog().default == ChatSettings().model


def test_every_model_can_be_had_without_the_hub() -> None:
    for entry in read_catalog().models:
        assert any(isinstance(source, Wheels) for source in entry.sources)


def test_the_default_model_is_six_wheels_in_order() -> None:
    catalog = read_catalog()
    (wheels,) = [source for source in catalog.entry(catalog.default).sources if isinstance(source, Wheels)]
    assert [wheel.name[-1] for wheel in wheels.wheels] == list("123456")
    assert [wheel.member[-6:-4] for wheel in wheels.wheels] == ["01", "02", "03", "04", "05", "06"]


def test_the_served_file_changes_with_hash_and_quantisation() -> None:
    entry = read_catalog().entry("smollm2-135m-instruct")
    others = [
        entry.model_copy(update=update)
        for update in ({"sha256": "f" * 64}, {"quantisation": "Q8_0"}, {"quantisation": None})
    ]
    assert len({entry.served_file, *(other.served_file for other in others)}) == 4
    assert others[-1].served_file == entry.file


def test_an_unknown_name_is_answered_with_the_names_that_exist() -> None:
    with pytest.raises(InvalidInput, match=r"'gpt-9'.*qwen2\.5-coder-0\.5b-instruct, smollm2-135m-instruct"):
        read_catalog().entry("gpt-9")


def test_a_small_catalog_is_read(tmp_path: Path) -> None:
    assert read_catalog(write(tmp_path, MINIMAL)).entry("small").quantisation is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("a" * 64, "A" * 64, "models.0.sha256: "),
        ("size = 10", "size = 0", "models.0.size: "),
        ('tools = "none"', 'tools = "none"\ncolour = 1', "models.0.colour: Extra inputs"),
        ('file = "small.gguf"', 'file = "../small.gguf"', "models.0.file: "),
        ("small_model/small.gguf", "../small.gguf", "models.0.sources.0.wheels.wheels.0.member: "),
        ("small_model/small.gguf", "/etc/passwd", "models.0.sources.0.wheels.wheels.0.member: "),
        ('"small-model"', '"--index-url=x"', "models.0.sources.0.wheels.wheels.0.name: "),
        ('kind = "wheels"', 'kind = "floppy"', "models.0.sources.0: "),
        ('default = "small"', 'default = "large"', "the default 'large' is not among the models"),
        ('tools = "none"', 'tools = "none"\nquantisation = "Q1"', "models.0.quantisation: "),
        ('default = "small"', "default = ", "is not TOML"),
    ],
)
def test_a_bad_field_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in MINIMAL
    with pytest.raises(InvalidInput) as caught:
        read_catalog(write(tmp_path, MINIMAL.replace(old, new)))
    assert message in str(caught.value)


def test_two_models_of_one_name_are_refused(tmp_path: Path) -> None:
    twice = MINIMAL + MINIMAL.partition("[[models]]")[1] + MINIMAL.partition("[[models]]")[2]
    with pytest.raises(InvalidInput, match="two models have the same name"):
        read_catalog(write(tmp_path, twice))


def test_a_missing_catalog_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"nothing\.toml' cannot be read"):
        read_catalog(tmp_path / "nothing.toml")


def test_the_catalog_lies_beside_its_code() -> None:
    assert CATALOG.parent.name == "models"
