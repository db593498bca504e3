from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain import LoadedDocument
from core.errors import UnreadableDocument
from ingest.formats.commonmark import load_markdown, markdown_blocks

PAGE = """---
title: Kerzenfels
---

# Kerzenfels #

The lamp burns
14 litres.

History
-------

- one
- two
  - three

| a | b |
|---|---|
| 1 | 2 |

```python
# no heading
```

***

> ## quoted

<!-- a remark -->

[ferry]: https://example.org
"""


def read(folder: Path, text: str) -> LoadedDocument:
    path = folder / "page.md"
    path.write_bytes(text.encode())
    return load_markdown(path)


def test_the_source_is_the_text_and_blocks_lie_in_it(tmp_path: Path) -> None:
    loaded = read(tmp_path, PAGE)
    assert loaded.text == PAGE
    assert [(b.level, b.lines, loaded.text[b.start : b.end]) for b in loaded.blocks] == [
        (0, True, "---\ntitle: Kerzenfels\n---"),
        (1, False, "Kerzenfels"),
        (0, False, "The lamp burns\n14 litres."),
        (2, False, "History"),
        (0, True, "- one\n- two\n  - three"),
        (0, True, "| a | b |\n|---|---|\n| 1 | 2 |"),
        (0, True, "```python\n# no heading\n```"),
        (0, False, "> ## quoted"),
        (0, True, "[ferry]: https://example.org"),
    ]


def test_line_breaks_of_all_kinds_become_one(tmp_path: Path) -> None:
    loaded = read(tmp_path, "# A\r\n\r\ntext\rmore\x00\n")
    assert loaded.text == "# A\n\ntext\nmore\n"


@pytest.mark.parametrize("ending", ["", "\n", "\n\n"])
def test_an_underlined_heading_at_the_end_is_a_heading(tmp_path: Path, ending: str) -> None:
    loaded = read(tmp_path, "History\n=======" + ending)
    assert [(b.level, loaded.text[b.start : b.end]) for b in loaded.blocks] == [(1, "History")]


@pytest.mark.parametrize("text", ["", "  \n\n", "<!-- only a remark -->", "---\n"])
def test_a_file_without_text_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UnreadableDocument, match="empty"):
        read(tmp_path, text)


pieces = st.sampled_from(
    [
        "# ",
        "## h",
        "text",
        "\n",
        "\n\n",
        "- ",
        "  ",
        "> ",
        "```\n",
        "|a|b|\n|-|-|\n",
        "===\n",
        "---\n",
        "<div>",
        "1. ",
        "\t",
    ]
)


@given(st.lists(pieces, max_size=30).map("".join))
def test_blocks_are_in_order_and_hold_every_letter(text: str) -> None:
    blocks = list(markdown_blocks(text))
    assert all(block.start < block.end for block in blocks)
    assert all(a.end <= b.start for a, b in pairwise(blocks))
    covered = {n for block in blocks for n in range(block.start, block.end)}
    assert all(n in covered for n, letter in enumerate(text) if re.match(r"\w", letter))
