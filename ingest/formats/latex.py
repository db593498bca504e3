"""LaTeX: sections as headings, text as it is set, formulas and code as they are written; no other file is read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.domain import LoadedDocument
from ingest.draft import Draft, row
from ingest.encoding import clean, decode

COMMENT = re.compile(r"(?<!\\)((?:\\\\)*)%[^\n]*(?:\n[ \t]*)?")
BODY = re.compile(r"\\begin\s*\{document\}(.*?)(?:\\end\s*\{document\}|\Z)", re.DOTALL)
SECTION = re.compile(
    r"\\(part|chapter|section|subsection|subsubsection|paragraph|subparagraph)\*?\s*(?:\[[^\]]*\])?\s*\{"
)
HEAD = re.compile(r"\\(title|author|date)\s*(?:\[[^\]]*\])?\s*\{")
WHOLE = re.compile(
    r"\\begin\s*\{(tabular[*x]?|longtable|lstlisting|verbatim|minted|equation\*?|align\*?|gather\*?|multline\*?)\}"
    r"(.*?)\\end\s*\{\1\}",
    re.DOTALL,
)
DROPPED = re.compile(
    r"\\(?:label|cite[a-z]*|bibliography(?:style)?|includegraphics|input|include|usepackage|vspace|hspace|pagestyle|"
    r"thispagestyle|setlength|setcounter)\*?\s*(?:\[[^\]]*\])*\s*\{[^{}]*\}(?:\{[^{}]*\})?|\\maketitle\b"
)
RULES = re.compile(r"\\(?:hline|toprule|midrule|bottomrule|cmidrule(?:\([^)]*\))?\{[^}]*\}|cline\{[^}]*\})")
COLUMNS = re.compile(r"\s*(?:\[[^\]]*\])?(?:\{[^{}]*\})?\s*\{(?:[^{}]|\{[^{}]*\})*\}")
ITEM = re.compile(r"\\item\b\s*")
LEVELS = {"part": 1, "chapter": 1, "section": 1, "subsection": 2, "subsubsection": 3, "paragraph": 4, "subparagraph": 5}
BLANK = re.compile(r"\n\s*\n")
MOST_GROUP = 20_000


def load_latex(path: Path) -> LoadedDocument:
    r"""Read a LaTeX file; what it would ``\input`` is not looked for.

    Raises:
        UnreadableDocument: the file is binary or holds no text.
    """
    source = COMMENT.sub(r"\1", clean(decode(path.read_bytes())))
    found = BODY.search(source)
    head, body = (source[: found.start()], found[1]) if found else ("", source)
    draft = Draft()
    words = _Words()
    for match in [*HEAD.finditer(head), *HEAD.finditer(body)]:
        whole = head if match.string is head else body
        draft.add(words.of(_group(whole, match.end())), level=1 if match[1] == "title" else 0)
    shift = 1 if re.search(r"\\(?:chapter|part)\*?\s*[\[{]", body) else 0
    start = 0
    for match in SECTION.finditer(body):
        if match.start() < start:
            continue
        _write(draft, words, body[start : match.start()])
        title = _group(body, match.end())
        nested = shift if match[1] not in {"part", "chapter"} else 0
        draft.add(" ".join(words.of(title).split()), level=min(LEVELS[match[1]] + nested, 6))
        start = match.end() + len(title) + 1
    _write(draft, words, body[start:])
    return draft.finish()


class _Words:
    """Turns LaTeX into the letters that it sets; the library is loaded once."""

    def __init__(self) -> None:
        from pylatexenc.latex2text import LatexNodes2Text

        self._converter: Any = LatexNodes2Text(math_mode="verbatim", strict_latex_spaces=False, keep_comments=False)

    def of(self, source: str) -> str:
        text: str = self._converter.latex_to_text(HEAD.sub("{", DROPPED.sub("", source)), tolerant_parsing=True)
        return text.strip()


def _group(text: str, start: int) -> str:
    """What stands in the braces that were opened before ``start``."""
    depth = 1
    for offset in range(start, min(len(text), start + MOST_GROUP)):
        if text[offset] in "{}" and text[offset - 1] != "\\":
            depth += 1 if text[offset] == "{" else -1
            if depth == 0:
                return text[start:offset]
    return text[start : start + 200]


def _write(draft: Draft, words: _Words, source: str) -> None:
    start = 0
    for match in WHOLE.finditer(source):
        _write_text(draft, words, source[start : match.start()])
        if match[1].startswith(("tabular", "longtable")):
            draft.add("\n".join(_rows(words, match[2])), lines=True)
        else:
            draft.add(match[2], lines=True)
        start = match.end()
    _write_text(draft, words, source[start:])


def _write_text(draft: Draft, words: _Words, source: str) -> None:
    for part in BLANK.split(source):
        items = ITEM.split(part)
        if len(items) == 1:
            draft.add(" ".join(words.of(_without_head(part)).split()))
            continue
        draft.add(" ".join(words.of(items[0]).split()))
        draft.add("\n".join("- " + " ".join(words.of(item).split()) for item in items[1:]), lines=True)


def _without_head(part: str) -> str:
    """A paragraph without the title and the authors, which have been written."""
    kept, start = [], 0
    for match in HEAD.finditer(part):
        kept.append(part[start : match.start()])
        start = match.end() + len(_group(part, match.end())) + 1
    return "".join([*kept, part[start:]])


def _rows(words: _Words, source: str) -> Iterator[str]:
    body = source[found.end() :] if (found := COLUMNS.match(source)) else source
    for line in RULES.sub("", body).split("\\\\"):
        cells = [words.of(cell) for cell in re.split(r"(?<!\\)&", line)]
        if any(cells):
            yield row(cells)
