from __future__ import annotations

from pathlib import Path

import pytest

from app.reference import check_reference, pages, write_reference
from core.errors import PlatformError
from core.settings import variables


def test_every_setting_is_on_both_pages_once() -> None:
    page, example = pages().values()
    for name in variables():
        assert page.count(f"| `{name}` |") == 1
        assert example.count(f"\n#{name}=") == 1


def test_defaults_choices_and_bounds_are_told() -> None:
    page = pages()["docs/reference/settings.md"]
    assert "| `API__PORT` | `8000` | whole number ≥ 1 ≤ 65535 |" in page
    assert "| `UI__ENABLED` | `true` | `true`, `false` |" in page
    assert "| `EMBEDDING__DTYPE` | `auto` | `auto`, `float32`, `bfloat16` |" in page
    assert "| `CHAT__API_KEY` |  | secret |" in page
    assert "| `CHAT__BASE_URL` |  | address |" in page


def test_a_page_that_was_edited_fails_the_check_until_it_is_written_again(tmp_path: Path) -> None:
    assert write_reference(tmp_path) == list(pages())
    assert write_reference(tmp_path) == []
    check_reference(tmp_path)
    (tmp_path / ".env.example").write_text("API__PORT=1\n")
    with pytest.raises(PlatformError, match=r"^Not up to date: \.env\.example\."):
        check_reference(tmp_path)
    assert write_reference(tmp_path) == [".env.example"]
    check_reference(tmp_path)
