from __future__ import annotations

import pytest

from core.errors import InvalidInput
from core.settings import read_settings, unknown_names, variables


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in variables():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path_factory.mktemp("empty"))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("CHAT__BASE_URL", "not an address", "CHAT__BASE_URL: "),
        ("CHAT__BASE_URL", "ftp://host/v1", "'http' or 'https'"),
        ("DATABASE__URL", "mysql://host/db", "'postgresql' or 'postgres'"),
        ("API__PORT", "99999", "API__PORT: Input should be less than or equal to 65535"),
        ("API__PORT", "many", "API__PORT: Input should be a valid integer"),
        ("EMBEDDING__DTYPE", "int4", "EMBEDDING__DTYPE: Input should be 'auto', 'float32' or 'bfloat16'"),
        ("CHAT__MODEL", "", "CHAT__MODEL: "),
    ],
)
def test_a_bad_value_is_named_with_what_was_expected(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidInput) as caught:
        read_settings()
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bad_value_that_may_be_a_secret_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE__URL", "mysql://me:hunter2@host/db")
    with pytest.raises(InvalidInput) as caught:
        read_settings()
    assert "hunter2" not in str(caught.value)


def test_misspelt_names_are_found_and_strangers_left_alone() -> None:
    lines = unknown_names({"CHAT__MODLE": "x", "CHATT__MODEL": "x", "OTHER__THING": "x", "PATH": "x"})
    assert lines == [
        "CHATT__MODEL: unknown setting; did you mean CHAT__MODEL?",
        "CHAT__MODLE: unknown setting; did you mean CHAT__MODEL?",
    ]


def test_each_part_is_replaced_by_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "DATABASE__URL": "postgresql://host/db",
        "QDRANT__URL": "http://host:6333",
        "QDRANT__API_KEY": "hush-hush",
        "CHAT__BASE_URL": "http://host/v1",
        "CHAT__MODEL": "big",
        "CHAT__API_KEY": "hush-hush",
        "EMBEDDING__MODEL": "/a/folder",
        "BLOBS__URL": "s3://bucket/prefix",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = read_settings()
    assert str(settings.database.url) == "postgresql://host/db"
    assert (settings.chat.model, settings.embedding.model) == ("big", "/a/folder")
    assert "hush-hush" not in repr(settings)
