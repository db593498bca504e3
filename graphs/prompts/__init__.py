"""The prompts, as files beside the code that reads them."""

from __future__ import annotations

from importlib.resources import files


def read_prompt(name: str) -> str:
    """The text of ``name.md``."""
    return files(__name__).joinpath(f"{name}.md").read_text(encoding="utf-8").strip()
