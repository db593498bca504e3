from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import docx
import pytest
from docx.enum.style import WD_STYLE_TYPE
from docx.enum.text import WD_COLOR_INDEX
from docx.opc.packuri import PackURI
from docx.opc.part import Part
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from docx.shared import Pt, RGBColor

from core.domain import LoadedDocument
from core.errors import UnreadableDocument
from ingest.formats.word import load_docx


def read(folder: Path, document: Any) -> LoadedDocument:
    path = folder / "paper.docx"
    document.save(str(path))
    return load_docx(path)


def blocks(loaded: LoadedDocument) -> list[tuple[int, str]]:
    return [(block.level, loaded.text[block.start : block.end]) for block in loaded.blocks]


def test_headings_paragraphs_lists_and_tables_come_in_the_order_of_the_document(tmp_path: Path) -> None:
    document = docx.Document()
    document.add_heading("Kerzenfels", 0)
    document.add_paragraph("Before the table.")
    table = document.add_table(2, 2)
    for cell, text in zip((c for r in table.rows for c in r.cells), ["Name", "Oil", "Lamp", "14 | 15"], strict=True):
        cell.text = text
    document.add_heading("History", 2)
    document.add_paragraph("first", style="List Bullet")
    document.add_paragraph("second", style="List Number")
    document.add_paragraph("After the list.")
    assert blocks(read(tmp_path, document)) == [
        (1, "Kerzenfels"),
        (0, "Before the table."),
        (0, "| Name | Oil |\n| Lamp | 14 \\| 15 |"),
        (2, "History"),
        (0, "- first\n- second"),
        (0, "After the list."),
    ]


def test_the_lines_of_tables_and_lists_stand_for_themselves(tmp_path: Path) -> None:
    document = docx.Document()
    document.add_paragraph("prose")
    document.add_table(1, 1).cell(0, 0).text = "cell"
    document.add_paragraph("item", style="List Bullet")
    assert [block.lines for block in read(tmp_path, document).blocks] == [False, True, True]


def test_merged_cells_are_read_once(tmp_path: Path) -> None:
    document = docx.Document()
    table = document.add_table(1, 3)
    table.cell(0, 0).merge(table.cell(0, 1)).text = "wide"
    table.cell(0, 2).text = "narrow"
    assert read(tmp_path, document).text == "| wide | narrow |"


def test_a_table_within_a_table_keeps_its_cells(tmp_path: Path) -> None:
    document = docx.Document()
    cell = document.add_table(1, 1).cell(0, 0)
    cell.text = "outer"
    inner = cell.add_table(1, 2)
    inner.cell(0, 0).text, inner.cell(0, 1).text = "left", "right"
    assert read(tmp_path, document).text == "| outer left right |"


def test_insertions_content_controls_and_links_are_read_and_deletions_are_not(tmp_path: Path) -> None:
    document = docx.Document()
    run = "<w:r><w:t xml:space='preserve'>{}</w:t></w:r>"
    document.element.body.insert(
        0,
        parse_xml(
            f"<w:sdt {nsdecls('w')}><w:sdtContent><w:p>{run.format('kept ')}<w:ins>{run.format('inserted ')}</w:ins>"
            f"<w:del><w:r><w:delText>deleted</w:delText></w:r></w:del><w:moveFrom>{run.format('moved')}</w:moveFrom>"
            f"<w:hyperlink>{run.format('linked')}</w:hyperlink></w:p></w:sdtContent></w:sdt>"
        ),
    )
    assert read(tmp_path, document).text == "kept inserted linked"


def with_part(document: Any, kind: str, name: str, content: str | bytes, media_type: str = "application/xml") -> None:
    """Hang a part onto the document."""
    data = content if isinstance(content, bytes) else content.encode()
    part = Part(PackURI(name), media_type, data, document.part.package)
    document.part.relate_to(part, f"http://schemas.openxmlformats.org/officeDocument/2006/relationships/{kind}")


def noted(paragraph: Any, kind: str, number: int) -> None:
    """Refer to a note at the end of the paragraph."""
    paragraph._p.append(parse_xml(f'<w:r {nsdecls("w")}><w:{kind}Reference w:id="{number}"/></w:r>'))


def notes(kind: str, texts: dict[int, str]) -> str:
    line = f'<w:{kind} w:type="separator" w:id="-1"><w:p><w:r><w:t>----</w:t></w:r></w:p></w:{kind}>'
    found = "".join(
        f'<w:{kind} w:id="{n}"><w:p><w:r><w:{kind}Ref/></w:r><w:r><w:t>{text}</w:t></w:r></w:p></w:{kind}>'
        for n, text in texts.items()
    )
    return f"<w:{kind}s {nsdecls('w')}>{line}{found}</w:{kind}s>"


def test_footnotes_and_endnotes_stand_where_they_are_referred_to(tmp_path: Path) -> None:
    document = docx.Document()
    paragraph = document.add_paragraph("The lamp burns oil")
    noted(paragraph, "footnote", 2)
    paragraph.add_run(" at night.")
    cell = document.add_table(1, 1).cell(0, 0)
    cell.text = "14 litres"
    noted(cell.paragraphs[0], "endnote", 1)
    noted(document.add_paragraph("again"), "footnote", 2)
    noted(document.add_paragraph("nowhere"), "footnote", 9)
    with_part(document, "footnotes", "/word/footnotes.xml", notes("footnote", {1: "unused", 2: "Whale oil."}))
    with_part(document, "endnotes", "/word/endnotes.xml", notes("endnote", {1: "In 1821."}))
    loaded = read(tmp_path, document)
    assert [text for _, text in blocks(loaded)] == [
        "The lamp burns oil (Whale oil.) at night.",
        "| 14 litres (In 1821.) |",
        "again",
        "nowhere",
    ]
    assert list(loaded.warnings) == []


def test_comments_headers_footers_and_embedded_files_are_named(tmp_path: Path) -> None:
    document = docx.Document()
    run = document.add_paragraph("The lamp burns oil.").runs[0]
    document.add_comment(run, text="Really?", author="Anna")
    document.add_comment(run, text="Yes.", author="Marta")
    document.sections[0].header.paragraphs[0].text = "Harbour office"
    document.sections[0].footer.paragraphs[0].text = "- 1 -"
    with_part(document, "oleObject", "/word/embeddings/oleObject1.bin", b"\xd0\xcf\x11\xe0", "application/x-ole")
    with_part(document, "package", "/word/embeddings/Tides.xlsx", b"PK\x03\x04", "application/x-xlsx")
    with_part(document, "aFChunk", "/word/letter.html", "<p>imported</p>", "text/html")
    loaded = read(tmp_path, document)
    assert loaded.text == "The lamp burns oil."
    assert list(loaded.warnings) == [
        "Left out: comments (2), headers (1).",
        "Embedded files that were not read: 'Tides.xlsx', 'letter.html', 'oleObject1.bin'. Upload them on their own.",
    ]


def test_text_that_a_reader_cannot_see_is_left_out_and_said(tmp_path: Path) -> None:
    document = docx.Document()
    paragraph = document.add_paragraph("The lamp ")
    paragraph.add_run("obey me").font.hidden = True
    paragraph.add_run("and me").font.size = Pt(1)
    paragraph.add_run("and also me").font.color.rgb = RGBColor(255, 255, 255)
    paragraph.add_run("burns oil.").font.hidden = False
    style = document.styles.add_style("Secret", WD_STYLE_TYPE.CHARACTER)
    style.font.hidden = True
    paragraph.add_run(" By a style.", style="Secret")
    loaded = read(tmp_path, document)
    assert loaded.text == "The lamp burns oil."
    assert list(loaded.warnings) == ["Text that a reader cannot see was left out (hidden, tiny, or white on white)."]


def test_white_text_on_a_coloured_ground_is_kept(tmp_path: Path) -> None:
    document = docx.Document()
    marked = document.add_paragraph().add_run("on a marker")
    marked.font.color.rgb, marked.font.highlight_color = RGBColor(255, 255, 255), WD_COLOR_INDEX.BLACK
    banner = document.add_paragraph()
    banner.add_run("on a banner").font.color.rgb = RGBColor(255, 255, 255)
    banner._p.get_or_add_pPr().append(parse_xml(f'<w:shd {nsdecls("w")} w:val="clear" w:fill="1F3864"/>'))
    cell = document.add_table(1, 1).cell(0, 0)
    cell.paragraphs[0].add_run("in a table").font.color.rgb = RGBColor(255, 255, 255)
    loaded = read(tmp_path, document)
    assert loaded.text == "on a marker\n\non a banner\n\n| in a table |"
    assert list(loaded.warnings) == []


def test_control_characters_are_not_kept(tmp_path: Path) -> None:
    document = docx.Document()
    document.add_paragraph("one\ttwo\nthree\x85four")
    assert read(tmp_path, document).text == "one\ttwo\nthree\nfour"


def test_a_document_without_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableDocument, match="empty"):
        read(tmp_path, docx.Document())


def test_an_archive_that_is_no_document_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "paper.docx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(UnreadableDocument, match="damaged"):
        load_docx(path)


@pytest.mark.parametrize("data", [b"PK\x03\x04 cut short", b"not an archive"])
def test_a_file_that_is_cut_short_is_damaged(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "paper.docx"
    path.write_bytes(data)
    with pytest.raises(UnreadableDocument, match="damaged"):
        load_docx(path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "paper.docx"
    path.touch()
    with pytest.raises(UnreadableDocument, match="empty"):
        load_docx(path)
