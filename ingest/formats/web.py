"""HTML: headings, paragraphs, lists, tables and code in the order of the page; what is not shown is left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from core.domain import LoadedDocument
from ingest.draft import Draft, row
from ingest.encoding import clean, decode

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

SKIPPED = frozenset(
    "script style noscript template nav head svg canvas iframe object audio video button select option datalist input "
    "textarea dialog map".split()
)
INLINE = frozenset(
    "a abbr acronym b bdi bdo big cite code data del dfn em font i img ins kbd label mark meter output picture q rp rt "
    "ruby s samp small span strike strong sub sup time tt u var wbr -text".split()
)
HEADINGS = {f"h{level}": level for level in range(1, 7)}
SKIPPED_ROLES = frozenset({"navigation", "search", "menu", "menubar", "dialog"})
HIDDEN_STYLE = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*(hidden|collapse)"
    r"|(?<![\w-])(opacity|font-size)\s*:\s*(0+(\.0*)?|\.0+)[a-z%]*\s*(;|!|$)",
    re.IGNORECASE,
)
COLOURS = re.compile(r"(?<![\w-])(color|background|background-color)\s*:\s*([^;!]+)", re.IGNORECASE)
KEYWORDS = frozenset({"inherit", "initial", "unset", "revert", "currentcolor"})
META_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
XML_CHARSET = re.compile(rb"\A\s*<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([\w.:-]+)", re.IGNORECASE)
MAIN_SHARE = 0.3  # a <main> that holds less of the page's text is not what the page is about


def load_html(path: Path) -> LoadedDocument:
    """Read a web page.

    Raises:
        UnreadableDocument: the file is binary or holds no text.
    """
    data = path.read_bytes()
    draft = Draft()
    write_html(draft, clean(decode(data, declared_charset(data))))
    return draft.finish()


def write_html(draft: Draft, text: str, *, title: str | None = None) -> None:
    """Write a page. One without a main heading gets what it calls itself; with ``title``, that if it has no heading."""
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(text)
    own = tree.css_first("head > title")
    name = (" ".join(own.text().split()) if own is not None else "") if title is None else title
    tree.strip_tags(sorted(SKIPPED), recursive=True)
    if tree.css_first("h1" if title is None else "h1, h2, h3") is None:
        draft.add(name, level=1)
    if (root := _root(tree)) is not None:
        _Writer(draft).write(root)


def declared_charset(data: bytes) -> str | None:
    """The encoding that a page says it is in, as browsers understand it."""
    found = META_CHARSET.search(data[:4096]) or XML_CHARSET.search(data[:1024])
    if found is None:
        return None
    name = found.group(1).decode("ascii", "replace").lower()
    # Browsers read Latin-1 as its superset, and so do the people who wrote it.
    return "cp1252" if name in {"iso-8859-1", "latin1", "us-ascii", "ascii"} else name


def _root(tree: LexborHTMLParser) -> LexborNode | None:
    """The page's main part where it says which that is, else all of it."""
    mains = tree.css("main") or tree.css("[role=main]")
    body = tree.body or tree.root
    if len(mains) == 1 and body is not None and len(mains[0].text()) > MAIN_SHARE * len(body.text()):
        return mains[0]
    return body


class _Writer:
    """Walks a tree without recursion, however deep it is, and writes its blocks."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self._inline: list[str] = []
        self._items: list[str] = []
        self._lists = 0

    def write(self, root: LexborNode) -> None:
        """Write everything below a node."""
        stack: list[tuple[LexborNode, bool]] = [(root, False)]
        while stack:
            node, leaving = stack.pop()
            if leaving:
                self._leave(node)
            elif self._enter(node):
                stack.append((node, True))
                stack.extend((child, False) for child in reversed(list(node.iter(include_text=True))))
        self._flush()
        self._end_list()

    def _enter(self, node: LexborNode) -> bool:
        """Whether the node's children are to be walked."""
        tag = node.tag or ""
        if tag == "-text":
            self._inline.append((node.text_content or "").replace("\n", " "))
            return False
        if tag == "br":
            self._inline.append("\n")
            return False
        if tag in SKIPPED or _is_hidden(node):
            return False
        if tag in INLINE:
            return True
        return self._enter_block(node, tag)

    def _enter_block(self, node: LexborNode, tag: str) -> bool:
        self._flush()
        if tag in HEADINGS or tag == "pre" or (tag == "table" and not _is_layout(node)):
            self._end_list()
            text, is_lines = _whole(node, tag)
            self.draft.add(text, level=HEADINGS.get(tag, 0), lines=is_lines)
            return False
        if tag in {"ul", "ol", "menu"}:
            self._lists += 1
        return True

    def _leave(self, node: LexborNode) -> None:
        tag = node.tag or ""
        if tag in INLINE:
            return
        self._flush()
        if tag in {"ul", "ol", "menu"}:
            self._lists -= 1
            if self._lists == 0:
                self._end_list()

    def _flush(self) -> None:
        """Write the inline text that has come together: as a paragraph, or as an item of the list around it."""
        text = _folded("".join(self._inline))
        self._inline = []
        if not text:
            return
        if self._lists:
            self._items.append("  " * (self._lists - 1) + "- " + " ".join(text.split()))
        else:
            self.draft.add(text, lines=text.count("\n") > 2)

    def _end_list(self) -> None:
        self.draft.add("\n".join(self._items), lines=True)
        self._items = []


def _is_hidden(node: LexborNode) -> bool:
    attributes = node.attributes
    return (
        "hidden" in attributes
        or attributes.get("aria-hidden") == "true"
        or attributes.get("role") in SKIPPED_ROLES
        or (node.tag == "a" and "hreflang" in attributes)  # the same page in another language
        or _is_hiding(attributes.get("style") or "")
    )


def _is_hiding(style: str) -> bool:
    """Whether an element's own style leaves nothing to see of it, or draws it in the colour of its ground."""
    if HIDDEN_STYLE.search(style) is not None:
        return True
    colours = {name.lower().partition("-")[0]: value.strip().lower() for name, value in COLOURS.findall(style)}
    return len(colours) == 2 and colours["color"] == colours["background"] and colours["color"] not in KEYWORDS


def _is_layout(table: LexborNode) -> bool:
    """Whether a table only arranges the page: it holds headings, or another table next to more than a few words."""
    if table.css_first("h1, h2, h3, h4, h5, h6") is not None or table.attributes.get("role") == "presentation":
        return True
    return all(len(list(_cells(line))) < 2 for line in _rows(table))


def _rows(table: LexborNode) -> Iterator[LexborNode]:
    for child in table.iter():
        if child.tag in {"thead", "tbody", "tfoot"}:
            yield from (line for line in child.iter() if line.tag == "tr")
        elif child.tag == "tr":
            yield child


def _cells(line: LexborNode) -> Iterator[LexborNode]:
    return (cell for cell in line.iter() if cell.tag in {"td", "th"})


def _whole(node: LexborNode, tag: str) -> tuple[str, bool]:
    """The text of a heading, a code block or a table, and whether its lines stand for themselves."""
    if tag == "pre":
        return "".join(_texts(node)).strip("\n"), True
    if tag != "table":
        return " ".join("".join(_texts(node)).split()), False
    caption = node.css_first("caption")
    lines = [" ".join("".join(_texts(caption)).split())] if caption is not None else []
    for line in _rows(node):
        cells = ["".join(_texts(cell)) for cell in _cells(line)]
        if any(cell.strip() for cell in cells):
            lines.append(row(cells))
    return "\n".join(lines), True


def _texts(root: LexborNode) -> Iterator[str]:
    """The pieces of text below a node that are shown, with a space where a block begins or ends."""
    stack: list[LexborNode | str] = []
    stack.extend(reversed(list(root.iter(include_text=True))))
    while stack:
        node = stack.pop()
        if isinstance(node, str):
            yield node
        elif node.tag == "-text":
            yield node.text_content or ""
        elif node.tag == "br":
            yield "\n"
        elif node.tag not in SKIPPED and not _is_hidden(node):
            if node.tag not in INLINE:
                stack.append(" ")
            stack.extend(reversed(list(node.iter(include_text=True))))
            if node.tag not in INLINE:
                stack.append(" ")


def _folded(text: str) -> str:
    """Blank space as a browser shows it; line breaks are those of <br>."""
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return "\n".join(line for line in lines if line)
