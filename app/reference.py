"""The pages that are generated from the settings: ``docs/reference/settings.md`` and ``.env.example``."""

from __future__ import annotations

import types
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from core.errors import PlatformError
from core.sections import Section
from core.settings import Settings, variable

PAGE = Path("docs/reference/settings.md")
EXAMPLE = Path(".env.example")

_PAGE_HEAD = """\
# Settings

Generated from `core/settings.py` by `python -m app reference`; do not edit.

A setting is an environment variable, or a line of the file `.env` in the folder where Ragstone is started. The
environment comes first. A bad value, or an unknown name in a section, stops the start with a line that names it.
"""
_EXAMPLE_HEAD = """\
# Generated from core/settings.py by `python -m app reference`; do not edit.
# Copy it to .env and remove the mark from the lines that you change; the values shown are the defaults.
"""


def write_reference(root: Path) -> list[str]:
    """Write the pages below `root`; return the names of those that changed."""
    changed = stale(root)
    for name in changed:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(pages()[name], "utf-8")
    return changed


def check_reference(root: Path) -> None:
    """See that the pages below `root` are what the settings give.

    Raises:
        PlatformError: one is not.
    """
    if names := stale(root):
        raise PlatformError(f"Not up to date: {', '.join(names)}. Run `python -m app reference`.")


def stale(root: Path) -> list[str]:
    """The pages below `root` that are missing or differ from what the settings give."""
    return [
        name
        for name, text in pages().items()
        if not (root / name).is_file() or (root / name).read_text("utf-8") != text
    ]


def pages() -> dict[str, str]:
    """Each generated page by its path."""
    return {str(PAGE): _page(), str(EXAMPLE): _example()}


def _page() -> str:
    lines = [_PAGE_HEAD]
    for title, rows in _sections():
        lines += [f"## {title}", "", "| Variable | Default | Values | |", "|---|---|---|---|"]
        for name, field in rows:
            default = f"`{_text(field.default)}`" if _text(field.default) else ""
            description = (field.description or "").replace("|", "\\|")
            lines.append(f"| `{name}` | {default} | {_values(field)} | {description} |")
        lines.append("")
    return "\n".join(lines)


def _example() -> str:
    lines = [_EXAMPLE_HEAD]
    for title, rows in _sections():
        lines.append(f"# {title}")
        for name, field in rows:
            lines += [f"# {field.description}", f"#{name}={_text(field.default)}"]
        lines.append("")
    return "\n".join(lines)


def _sections() -> Iterator[tuple[str, list[tuple[str, FieldInfo]]]]:
    """Each heading, and its variables with their fields."""
    general = [(name, field) for name, field in Settings.model_fields.items() if _section(field) is None]
    yield "General", [(variable(name), field) for name, field in general]
    for name, field in Settings.model_fields.items():
        if section := _section(field):
            heading = (section.__doc__ or name).splitlines()[0].rstrip(".")
            yield heading, [(variable(name, inner), info) for inner, info in section.model_fields.items()]


def _section(field: FieldInfo) -> type[Section] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def _text(default: Any) -> str:
    """A default as it is written in the environment."""
    if default is None:
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    return str(default.value if isinstance(default, Enum) else default)


def _values(field: FieldInfo) -> str:
    """What is accepted, in words."""
    kind = _plain(field.annotation)
    if get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kind))
    words = {bool: "`true`, `false`", int: "whole number", float: "number", Path: "folder"}
    word = words.get(kind, {"Url": "address", "SecretStr": "secret"}.get(getattr(kind, "__name__", ""), "text"))
    return " ".join([word, *_bounds([*field.metadata, *getattr(field.annotation, "__metadata__", ())])])


def _bounds(metadata: list[Any]) -> Iterator[str]:
    for rule in metadata:
        for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
            if (bound := getattr(rule, name, None)) is not None:
                yield f"{sign} {bound:g}" if isinstance(bound, float) else f"{sign} {bound}"


def _plain(kind: Any) -> Any:
    """The type without ``Annotated`` and without ``| None``."""
    if get_origin(kind) is Annotated:
        return _plain(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return _plain(next(one for one in get_args(kind) if one is not types.NoneType))
    return kind
