"""RTF: paragraphs, headings by outline level or style, tables as rows, letters of any code page."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from core.domain import LoadedDocument
from core.errors import UnreadableDocument
from ingest.draft import Draft
from ingest.formats.table import write_table

TOKEN = re.compile(rb"\\([a-z]{1,32})(-?\d{1,10})? ?|\\'([0-9a-fA-F]{2})|\\([^a-z'])|([{}])|[\r\n]+|([^\\{}\r\n]+)|(.)")
MOST_DEPTH = 10_000
# Groups whose letters are none of the text.
SKIPPED = frozenset(
    b"colortbl info pict object header headerl headerr headerf footer footerl footerr footerf listtable themedata "
    b"listoverridetable revtbl rsidtbl generator xmlnstbl datastore latentstyles colorschememapping filetbl "
    b"fldinst nonshppict annotation atnid atnauthor bkmkstart bkmkend template shppict pntext pntxta pntxtb".split()
)
CHARSETS = {
    0: "cp1252", 77: "mac_roman", 128: "cp932", 129: "cp949", 130: "johab", 134: "cp936", 136: "cp950", 161: "cp1253",
    162: "cp1254", 163: "cp1258", 177: "cp1255", 178: "cp1256", 186: "cp1257", 204: "cp1251", 222: "cp874",
    238: "cp1250",
}  # fmt: skip
LETTERS = {
    b"tab": "\t", b"line": "\n", b"emdash": "—", b"endash": "–", b"bullet": "•", b"lquote": "‘", b"rquote": "’",
    b"ldblquote": "“", b"rdblquote": "”", b"emspace": " ", b"enspace": " ",
}  # fmt: skip
SYMBOLS = {b"~": "\xa0", b"_": "-", b"\\": "\\", b"{": "{", b"}": "}"}
HEADING = re.compile(r"heading (\d)|(title)$", re.IGNORECASE)


def load_rtf(path: Path) -> LoadedDocument:
    """Read a rich-text file.

    Raises:
        UnreadableDocument: it is no RTF, nested too deep, or holds no text.
    """
    data = path.read_bytes()
    if not data.lstrip().startswith(b"{\\rtf"):
        raise UnreadableDocument("The file is no RTF. Upload the real one, or with the extension of what it is.")
    reader = _Reader()
    for match in TOKEN.finditer(data):
        reader.read(match)
    reader.end()
    return reader.draft.finish()


@dataclass(frozen=True, slots=True)
class _State:
    """What a group inherits from the one around it."""

    skipped: bool = False
    table: str = ""  # "fonts" or "styles" inside the tables of these
    hidden: bool = False
    encoding: str = "cp1252"
    fallback: int = 1  # how many letters stand in for one of Unicode
    in_table: bool = False
    level: int = 0


@dataclass(slots=True)
class _Style:
    number: int = 0
    level: int = 0
    name: list[str] = field(default_factory=list)


class _Reader:
    """Reads tokens one after the other."""

    def __init__(self) -> None:
        self.draft = Draft()
        self._state = _State()
        self._stack: list[_State] = []
        self._bytes = bytearray()
        self._text: list[str] = []
        self._cells: list[str] = []
        self._rows: list[list[str]] = []
        self._fonts: dict[int, str] = {}
        self._font = 0
        self._styles: dict[int, int] = {}
        self._style = _Style()
        self._page = "cp1252"
        self._standing_in = 0
        self._starred = False
        self._words: dict[bytes, Callable[[int | None], None]] = {
            b"par": self._end_paragraph, b"sect": self._end_paragraph, b"page": self._end_paragraph,
            b"cell": self._end_cell, b"nestcell": self._end_cell, b"row": self._end_row, b"nestrow": self._end_row,
            b"pard": self._plain_paragraph, b"intbl": lambda _: self._set(in_table=True),
            b"outlinelevel": self._outline, b"s": self._use_style, b"f": self._use_font, b"fcharset": self._charset,
            b"ansicpg": self._codepage, b"u": self._unicode, b"uc": lambda n: self._set(fallback=min(n or 0, 8)),
            b"v": lambda n: self._set(hidden=n != 0), b"plain": lambda _: self._set(hidden=False),
            b"deleted": lambda n: self._set(hidden=n != 0), b"bin": self._refuse,
        }  # fmt: skip

    def read(self, match: re.Match[bytes]) -> None:
        word, number, code, symbol, brace, text, stray = match.groups()
        if word is not None:
            self._control(word, None if number is None else int(number))
        elif code is not None:
            self._letters(bytes.fromhex(code.decode()))
        elif symbol is not None:
            self._symbol(symbol)
        elif brace is not None:
            self._brace(brace)
        elif text is not None or stray is not None:
            self._letters(text or stray)

    def end(self) -> None:
        """Write what is left."""
        self._end_paragraph(None)
        self._end_table()

    def _control(self, word: bytes, number: int | None) -> None:
        self._decode()
        starred, self._starred = self._starred, False
        if word in {b"fonttbl", b"stylesheet"}:
            self._set(table="fonts" if word == b"fonttbl" else "styles")
        elif word in SKIPPED:
            self._set(skipped=True)
        elif word in LETTERS:
            self._write(LETTERS[word])
        elif word in self._words:
            self._words[word](number)
        elif starred and self._state.table != "styles":
            self._set(skipped=True)

    def _brace(self, brace: bytes) -> None:
        self._decode()
        self._standing_in = 0
        if brace == b"{":
            if len(self._stack) > MOST_DEPTH:
                raise UnreadableDocument("The RTF is nested too deep: it is damaged.")
            self._stack.append(self._state)
            return
        if self._state.table == "styles" and self._style.name:
            self._define_style()
        if self._stack:
            self._state = self._stack.pop()

    def _symbol(self, symbol: bytes) -> None:
        self._decode()
        if symbol == b"*":
            self._starred = True
        elif symbol in b"\r\n":
            self._end_paragraph(None)
        else:
            self._write(SYMBOLS.get(symbol, ""))

    def _letters(self, data: bytes) -> None:
        if self._standing_in:
            # These only stand in for the letter of Unicode before them.
            dropped = min(self._standing_in, len(data))
            self._standing_in -= dropped
            data = data[dropped:]
        self._bytes += data

    def _decode(self) -> None:
        """The letters that have come together: a code page may need two bytes for one."""
        if self._bytes:
            data, self._bytes = bytes(self._bytes), bytearray()
            self._write(data.decode(self._state.encoding, errors="replace"))

    def _write(self, text: str) -> None:
        if self._state.table == "styles":
            self._style.name.append(text)
        elif not (self._state.skipped or self._state.hidden or self._state.table):
            self._text.append(text)

    def _set(self, **changes: object) -> None:
        self._state = replace(self._state, **changes)  # type: ignore[arg-type]

    def _refuse(self, _: int | None) -> None:
        raise UnreadableDocument("The RTF holds raw binary data. Open it in a word processor and save it again.")

    def _unicode(self, number: int | None) -> None:
        self._write(chr((number or 0) % 0x10000))
        self._standing_in = self._state.fallback

    def _codepage(self, number: int | None) -> None:
        try:
            b"".decode(f"cp{number}")
        except LookupError:
            return
        self._page = f"cp{number}"
        self._set(encoding=self._page)

    def _charset(self, number: int | None) -> None:
        if number not in {None, 0, 1, 2}:
            self._fonts[self._font] = CHARSETS.get(number or 0, self._page)

    def _use_font(self, number: int | None) -> None:
        self._font = number or 0
        if self._state.table != "fonts":
            self._set(encoding=self._fonts.get(self._font, self._page))

    def _use_style(self, number: int | None) -> None:
        if self._state.table == "styles":
            self._style = _Style(number or 0)
        else:
            self._set(level=self._styles.get(number or 0, 0))

    def _outline(self, number: int | None) -> None:
        level = 1 + min(number or 0, 5) if number is not None and 0 <= number < 9 else 0
        if self._state.table == "styles":
            self._style.level = level
        else:
            self._set(level=level)

    def _define_style(self) -> None:
        found = HEADING.match("".join(self._style.name).strip(" ;"))
        named = min(int(found[1] or 1), 6) if found else 0
        self._styles[self._style.number] = self._style.level or named
        self._style = _Style()

    def _plain_paragraph(self, _: int | None) -> None:
        self._set(in_table=False, level=0)

    def _end_paragraph(self, _: int | None) -> None:
        self._decode()
        if self._state.in_table:
            self._write("\n")
            return
        text, self._text = "".join(self._text), []
        if text.strip():
            self._end_table()
            self.draft.add(_whole(text) if self._state.level == 0 else " ".join(text.split()), level=self._state.level)

    def _end_cell(self, _: int | None) -> None:
        self._decode()
        self._cells.append("".join(self._text))
        self._text = []

    def _end_row(self, _: int | None) -> None:
        self._decode()
        self._rows.append(self._cells)
        self._cells = []

    def _end_table(self) -> None:
        rows, self._rows = self._rows, []
        write_table(self.draft, rows)


def _whole(text: str) -> str:
    """Pairs of surrogates joined: RTF writes a letter above U+FFFF as two."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").replace("\xa0", " ")
