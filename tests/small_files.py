"""A small file of every format that is read, around a word that a test looks for."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import docx
import openpyxl
from PIL import Image, ImageDraw, ImageFont
from pptx import Presentation
from pptx.util import Inches

from tests.archives import make_epub, make_odt
from tests.outlook import make_msg
from tests.pdf import Words, make_pdf


def _docx(text: str) -> bytes:
    document = docx.Document()
    document.add_heading("Kerzenfels", 1)
    document.add_paragraph(text)
    document.add_table(1, 2).cell(0, 0).text = "crew"
    target = io.BytesIO()
    document.save(target)
    return target.getvalue()


def _pptx(text: str) -> bytes:
    deck = Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    slide.shapes.title.text = "Kerzenfels"
    slide.shapes.add_textbox(Inches(1), Inches(2), Inches(2), Inches(1)).text_frame.text = text
    target = io.BytesIO()
    deck.save(target)
    return target.getvalue()


def _xlsx(text: str) -> bytes:
    book = openpyxl.Workbook()
    for cells in (["port", "note"], ["Tornby", text]):
        book.active.append(cells)
    target = io.BytesIO()
    book.save(target)
    return target.getvalue()


def _eml(text: str) -> str:
    return f"From: a@example.org\nTo: b@example.org\nSubject: Kerzenfels\nContent-Type: text/html\n\n<p>{text}</p>\n"


def _notebook(text: str) -> str:
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": ["# Kerzenfels\n", text]},
        {"cell_type": "code", "metadata": {}, "source": "1 + 1", "outputs": [], "execution_count": 1},
    ]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


MAKERS: dict[str, Callable[[str], str | bytes]] = {
    "paper.pdf": lambda text: make_pdf([[Words("Kerzenfels", size=20)], [Words(text)]]),
    "paper.docx": _docx,
    "deck.pptx": _pptx,
    "book.xlsx": _xlsx,
    "paper.odt": lambda text: make_odt(f"<text:h>Kerzenfels</text:h><text:p>{text}</text:p>"),
    "paper.rtf": lambda text: r"{\rtf1\ansi{\b Kerzenfels}\par " + text + r"\par}",
    "novel.epub": lambda text: make_epub({"a": f"<h1>Kerzenfels</h1><p>{text}</p>"}, spine=["a"]),
    "page.html": lambda text: f"<!doctype html><h1>Kerzenfels</h1><p>{text}</p><table><tr><td>crew</table>",
    "notes.md": lambda text: f"# Kerzenfels\n\n{text}\n\n| port |\n|---|\n| Tornby |\n",
    "ports.csv": lambda text: f"port,note\nTornby,{text}\n",
    "ports.tsv": lambda text: f"port\tnote\nTornby\t{text}\n",
    "letter.eml": _eml,
    "letter.msg": lambda text: make_msg("Kerzenfels", text),
    "data.json": lambda text: json.dumps({"ports": [{"name": "Tornby", "note": text}]}),
    "data.jsonl": lambda text: f'{{"name": "Tornby"}}\n{json.dumps({"note": text})}\n',
    "data.xml": lambda text: (
        f"<?xml version='1.0'?><ports><port><title>Tornby</title><note>{text}</note></port></ports>"
    ),
    "work.ipynb": _notebook,
    "paper.tex": lambda text: rf"\documentclass{{article}}\begin{{document}}\section{{Port}}{text}\end{{document}}",
    "ship.py": lambda text: f'def sail():\n    """{text}"""\n',
    "plain.txt": lambda text: ("Kerzenfels\n\n" + text).encode("utf-16"),
}
"""By the name of the file."""


def small_file(name: str, text: str) -> bytes:
    """The bytes of a file with the text in it."""
    made = MAKERS[name](text)
    return made.encode() if isinstance(made, str) else made


def picture(text: str, kind: str) -> bytes:
    """Large black words on white."""
    drawn = Image.new("L", (1600, 300), 255)
    ImageDraw.Draw(drawn).text((60, 60), text, fill=0, font=ImageFont.load_default(64))
    target = io.BytesIO()
    drawn.save(target, kind)
    return target.getvalue()
