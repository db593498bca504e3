"""Bytes to text, whatever the encoding; and whether bytes are text at all."""

from __future__ import annotations

import codecs
import re
import unicodedata

import charset_normalizer

from core.errors import UnreadableDocument

# UTF-32 before UTF-16: the mark of the one begins with that of the other.
MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
NOT_GUESSED = ["utf_7", "utf_16", "utf_16_be", "utf_16_le", "utf_32", "utf_32_be", "utf_32_le"]
ASCII = bytes(range(128))
CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\f\v\b\x1b"))
LINE_BREAKS = re.compile("\r\n|[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
# Control characters, the byte order mark, lone surrogates and code points that are no characters.
DEBRIS = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ufeff\ud800-\udfff\ufffe\uffff]")
JAPANESE_ESCAPE = re.compile(rb"\x1b\$[@B]")
KANA = re.compile("[\u3041-\u30fa]")


def clean(text: str) -> str:
    r"""The text with ``\n`` as its only line break, and without characters that can be neither stored nor seen."""
    return DEBRIS.sub("", LINE_BREAKS.sub("\n", text))


def is_binary(data: bytes) -> bool:
    """Whether bytes are no text in any encoding; the first few kilobytes are enough to tell."""
    if data.startswith(tuple(mark for mark, _ in MARKS)) or _unmarked_utf16(data):
        return False
    controls = len(data) - len(data.translate(None, CONTROLS))
    return controls > max(2, len(data) * 0.03)


def decode(data: bytes, declared: str | None = None) -> str:
    """The text of the bytes: by their mark, as UTF-8, as declared, or by what the letters look like.

    Raises:
        UnreadableDocument: the bytes are binary.
    """
    for mark, encoding in MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, errors="replace")
    if unmarked := _unmarked_utf16(data):
        return data.decode(unmarked, errors="replace")
    if is_binary(data[:65536]):
        raise UnreadableDocument(
            "The file holds binary data, not text. Upload a PDF, DOCX, HTML, Markdown or plain-text file."
        )
    try:
        # In ISO 2022 Japanese text is ASCII to the eye of a decoder; what gives it away is how it changes its alphabet.
        return data.decode("iso2022_jp_2" if JAPANESE_ESCAPE.search(data) else "utf-8")
    except UnicodeDecodeError:
        return _legacy(data, declared)


def _legacy(data: bytes, declared: str | None) -> str:
    damaged = data.decode("utf-8", errors="replace")
    broken = damaged.count("\ufffd")
    # A stray byte in a UTF-8 text must not turn all its other letters into nonsense.
    if sum(letter > "\x7f" for letter in damaged) > 10 * broken:
        return damaged
    if declared:
        try:
            return data.decode(declared)
        except (LookupError, ValueError):
            pass  # what a page says of itself is a hint and no more
    return data.decode(_guess(data), errors="replace")


def _guess(data: bytes) -> str:
    if len(data.translate(None, ASCII)) < 4:
        return "cp1252"  # too little to tell, and by far the most frequent
    matches = charset_normalizer.from_bytes(data, cp_exclusion=NOT_GUESSED)
    ranked = sorted(
        (round(match.chaos, 2), -round(match.coherence, 2), -_kana(str(match)), match.encoding != "cp1252", n)
        for n, match in enumerate(matches)
    )
    return matches[ranked[0][-1]].encoding if ranked else "cp1252"


def _kana(text: str) -> int:
    """Japanese syllables in tenths of the first letters: in a wrong reading there are few."""
    start = text[:2000]
    return round(10 * len(KANA.findall(start)) / max(1, len(start)))


def _unmarked_utf16(data: bytes) -> str | None:
    """The byte order of UTF-16 without a mark: its zeros all stand in the same half of the pairs."""
    head = data[:4096]
    head = head[: len(head) // 2 * 2]
    for encoding, high, low in (("utf-16-le", head[1::2], head[::2]), ("utf-16-be", head[::2], head[1::2])):
        zeros, strays = high.count(0), low.count(0)
        if strays > 0.02 * len(low) or zeros == 0:
            continue
        # Western letters have a zero each; other scripts only the spaces between their words.
        if zeros > 0.6 * len(high) or (zeros >= max(8, 0.05 * len(high)) and _is_text(head, encoding)):
            return encoding
    return None


def _is_text(data: bytes, encoding: str) -> bool:
    try:
        text = data[: len(data) - len(data) % 4].decode(encoding)
    except UnicodeDecodeError:
        return False
    return sum(unicodedata.category(letter)[0] == "C" and letter not in "\r\n\t" for letter in text) < 0.02 * len(text)
