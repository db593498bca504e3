"""Every benchmark explains itself, and has its place on the page."""

from __future__ import annotations

import importlib
import sys

import pytest

from benchmarks.__main__ import OTHERS, QUICK
from benchmarks.report import PAGE, ROOT, with_section

NO_COMMANDS = {"__main__", "nursery", "plain_pipeline", "site", "stream_bare", "stream_client"}
"""Those that another benchmark starts."""
SECTIONS = [
    "ingest",
    "plain",
    "plain-openvino",
    "formats",
    "search-10000",
    "search-100000",
    "scale-100000",
    "growth",
    "answer",
    "memory",
    "start",
    "faults",
    "store",
    "streams",
    "run-faults",
    "soak",
]


def commands() -> list[str]:
    """The modules that a person runs."""
    paths = sorted((ROOT / "benchmarks").glob("*.py"))
    return [p.stem for p in paths if "__name__ ==" in p.read_text("utf-8") and p.stem not in NO_COMMANDS]


def test_make_bench_names_every_benchmark() -> None:
    assert sorted([*QUICK, *OTHERS, "formats"]) == commands()


@pytest.mark.parametrize("name", ["__main__", *commands()])
def test_a_benchmark_tells_its_arguments(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"benchmarks.{name}").main()
    assert ended.value.code == 0
    assert "usage: python -m benchmarks" in capsys.readouterr().out


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_of_the_page_is_replaced_and_nothing_else(section: str) -> None:
    page = PAGE.read_text("utf-8")
    changed = with_section(page, section, "new figures")
    assert f"<!-- {section} -->\nnew figures\n<!-- /{section} -->" in changed
    assert page.startswith(changed.split(f"<!-- {section} -->")[0])
    assert page.endswith(changed.split(f"<!-- /{section} -->")[1])


def test_a_section_without_a_place_is_refused() -> None:
    with pytest.raises(ValueError, match="must have the section 'elsewhere' once, and has it 0 times"):
        with_section(PAGE.read_text("utf-8"), "elsewhere", "")
