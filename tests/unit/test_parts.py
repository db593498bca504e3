from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from app.child import describe
from app.parts import ROOT, address, api_part, chat_part, missing, read_detail, ui_part
from app.supervisor import with_urls
from core.settings import Settings


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("CHAT__API_KEY", "s3cret")
    monkeypatch.setenv("DATABASE__URL", "postgresql://me:s3cret@db/name")
    monkeypatch.setenv("HF_HOME", "/elsewhere")
    monkeypatch.delenv("MODELS_DIR", raising=False)
    return Settings(_env_file=None, data_dir=Path("/data"))


def test_the_chat_model_is_told_its_settings_by_argument(settings: Settings) -> None:
    argv = " ".join(chat_part(settings, 1234, Path("/run/chat.json")).command.argv)
    assert argv == (
        f"{sys.executable} -m models.serving serve --model {settings.chat.model} --models-dir /data/models "
        "--port 1234 --slots 2 --context 4096 --status-file /run/chat.json"
    )


def test_a_key_is_in_the_environment_of_the_user_interface_and_nowhere_else(settings: Settings) -> None:
    command = ui_part(settings, "rag_key").command
    assert command.env["RAGSTONE_API_KEY"] == "rag_key"
    assert "rag_key" not in " ".join(command.argv)
    assert "rag_key" not in repr(command)


def test_only_the_api_gets_the_secrets_of_the_settings(settings: Settings) -> None:
    chat, ui = chat_part(settings, 1, Path("/run/chat.json")).command, ui_part(settings, "key").command
    for command in (chat, ui):
        assert not [value for value in command.env.values() if "s3cret" in value]
        assert command.env["HF_HOME"] == "/elsewhere"
    assert api_part(settings).command.env["CHAT__API_KEY"] == "s3cret"


def test_the_api_is_told_the_addresses_of_the_parts_that_were_started(settings: Settings) -> None:
    started = with_urls(
        settings, database="postgresql:///ragstone?host=%2Frun&port=5432&user=ragstone", chat="http://127.0.0.1:7/v1"
    )
    env = api_part(started).command.env
    assert env["DATABASE__URL"] == "postgresql:///ragstone?host=%2Frun&port=5432&user=ragstone"
    assert env["CHAT__BASE_URL"] == "http://127.0.0.1:7/v1"
    assert env["DATA_DIR"] == "/data"
    assert env["RAGSTONE_STATUS_DIR"] == "/data/run"
    assert env["PYTHONPATH"].split(":")[0] == str(ROOT)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),  # noqa: S104 (nothing listens)
        ("::", "http://[::1]:80"),
        ("fe80::1", "http://[fe80::1]:80"),
        ("example.org", "http://example.org:80"),
    ],
)
def test_what_listens_everywhere_is_reached_on_the_loopback(host: str, url: str) -> None:
    assert address(host, 80) == url


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (b'{"parts": {"index": {"status": "ready"}}}', ""),
        (
            b'{"parts": {"a": {"status": "starting", "detail": "loading"}, "b": {"status": "failed", "detail": ""}}}',
            "waits for a (loading); b",
        ),
        (b'{"detail": "not found"}', ""),
        (b'{"parts": [1]}', ""),
        (b"[]", ""),
        (b"<html>", ""),
    ],
)
def test_an_answer_that_is_no_health_answer_is_no_error(body: bytes, line: str) -> None:
    assert missing(body) == line


@pytest.mark.parametrize("content", ["", "[1]", '{"status": "starting"}', None])
def test_a_status_file_that_says_nothing_is_no_error(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "chat.json"
    if content is not None:
        path.write_text(content)
    assert read_detail(path) == ""
    path.write_text(json.dumps({"detail": "downloading 1 of 2 MB"}))
    assert read_detail(path) == "downloading 1 of 2 MB"


def test_an_exit_status_is_told_in_words() -> None:
    assert describe(3) == "status 3"
    assert describe(-9) == "signal SIGKILL"
