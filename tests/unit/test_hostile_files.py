"""Files that attack their reader: bombs, entities, what lies elsewhere, paths that climb, endless nesting."""

from __future__ import annotations

import io
import socket
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import docx
import openpyxl
import pytest
from pptx import Presentation

from core.domain import LoadedDocument
from core.errors import UnreadableDocument
from ingest.formats import archive
from ingest.load import load
from ingest.media import CODE, CSV, DOCX, EML, EPUB, HTML, JSON, LATEX, NOTEBOOK, ODT, PPTX, RTF, XLSX, XML
from tests.archives import make_epub, make_odt, make_zip

SECRET = "Kerzenfels-secret"
ZIPPED = (DOCX, PPTX, XLSX, ODT, EPUB)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """No reader opens a connection, or looks up a name."""
    tried: list[object] = []

    def refuse(*arguments: object, **_: object) -> None:
        tried.append(arguments)
        raise OSError("no network here")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield tried
    assert tried == []


def plain(kind: str) -> bytes:
    """A small document of a ZIP based format."""
    target = io.BytesIO()
    if kind == DOCX:
        document = docx.Document()
        document.add_paragraph("hello")
        document.save(target)
    elif kind == PPTX:
        deck = Presentation()
        deck.slides.add_slide(deck.slide_layouts[5]).shapes.title.text = "hello"
        deck.save(target)
    elif kind == XLSX:
        book = openpyxl.Workbook()
        book.active.append(["hello"])
        book.save(target)
    else:
        return make_odt("<text:p>hello</text:p>") if kind == ODT else make_epub({"a": "<p>hello</p>"}, spine=["a"])
    return target.getvalue()


def with_members(data: bytes, members: dict[str, bytes]) -> bytes:
    """The archive with further members, or with others in their place."""
    with zipfile.ZipFile(io.BytesIO(data)) as old:
        kept = {name: old.read(name) for name in old.namelist() if name not in members}
    return make_zip({**kept, **members})


def with_text(data: bytes, name: str, change: Callable[[str], str]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as old:
        return with_members(data, {name: change(old.read(name).decode()).encode()})


def read(folder: Path, data: bytes | str, kind: str) -> LoadedDocument:
    path = folder / "file"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return load(path, kind)


@pytest.mark.parametrize("kind", ZIPPED)
def test_the_small_documents_of_these_tests_can_be_read(tmp_path: Path, kind: str) -> None:
    assert "hello" in read(tmp_path, plain(kind), kind).text


@pytest.mark.parametrize("kind", ZIPPED)
def test_a_member_that_inflates_to_many_times_its_size_is_a_bomb(tmp_path: Path, kind: str) -> None:
    with pytest.raises(UnreadableDocument, match="zip bomb"):
        read(tmp_path, with_members(plain(kind), {"media/x.bin": bytes(20 << 20)}), kind)


@pytest.mark.parametrize("kind", ZIPPED)
def test_members_that_together_inflate_too_far_are_a_bomb(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "MOST_INFLATED", 1 << 20)
    members = {f"media/{n}.bin": bytes(100_000) for n in range(12)}
    with pytest.raises(UnreadableDocument, match="zip bomb"):
        read(tmp_path, with_members(plain(kind), members), kind)


@pytest.mark.parametrize("kind", ZIPPED)
def test_an_archive_of_countless_members_is_a_bomb(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_MEMBERS", 100)
    with pytest.raises(UnreadableDocument, match="zip bomb"):
        read(tmp_path, with_members(plain(kind), {f"m/{n}": b"" for n in range(101)}), kind)


def test_a_bomb_that_lies_about_its_size_is_damaged_and_not_inflated(tmp_path: Path) -> None:
    data = make_odt("<text:p>" + "x" * 5_000_000 + "</text:p>")
    with zipfile.ZipFile(io.BytesIO(data)) as whole:
        size = whole.getinfo("content.xml").file_size
    lying = data.replace(struct.pack("<L", size), struct.pack("<L", 1000))
    assert lying != data
    with pytest.raises(UnreadableDocument, match="damaged"):
        read(tmp_path, lying, ODT)


@pytest.mark.parametrize("kind", ZIPPED)
def test_archives_within_the_archive_stay_closed(tmp_path: Path, kind: str) -> None:
    inner = make_zip({"bomb": bytes(30 << 20)})
    for _ in range(5):
        inner = make_zip({"inner.zip": inner})
    assert SECRET not in read(tmp_path, with_members(plain(kind), {"embeddings/inner.zip": inner}), kind).text


@pytest.mark.parametrize("kind", ZIPPED)
def test_names_that_climb_out_of_the_archive_write_and_read_nothing(tmp_path: Path, kind: str) -> None:
    (tmp_path / "outside").write_text(SECRET)
    members = {"../climbed": SECRET.encode(), "/tmp/climbed": SECRET.encode(), "..\\climbed": SECRET.encode()}
    folder = tmp_path / "inside"
    folder.mkdir()
    assert SECRET not in read(folder, with_members(plain(kind), members), kind).text
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "inside", "outside"]


def test_a_chapter_outside_of_its_book_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "outside.xhtml").write_text(SECRET)
    spine = ["a", "../../outside.xhtml", f"{tmp_path}/outside.xhtml", "file:///etc/passwd"]
    loaded = read(tmp_path, make_epub({"a": "<p>hello</p>"}, spine=spine), EPUB)
    assert loaded.text == "hello"
    assert "'outside.xhtml'" in loaded.warnings[0]


def test_a_link_in_an_archive_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text(SECRET)
    link = zipfile.ZipInfo("book/a")
    link.external_attr = 0o120777 << 16
    target = io.BytesIO(make_epub({}, spine=["a"]))
    with zipfile.ZipFile(target, "a") as opened:
        opened.writestr(link, f"{tmp_path}/outside")
    assert SECRET not in read(tmp_path, target.getvalue(), EPUB).text


LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9)
) + "]>"  # fmt: skip


def external(path: Path) -> str:
    return f'<!DOCTYPE x [<!ENTITY j SYSTEM "file://{path}">]>'


def parts(head: str, entity: str = "&j;") -> dict[str, bytes]:
    """A document of each format of XML that has the head, and refers to its entity in its text."""

    def below(text: str) -> str:
        declaration, mark, rest = text.rpartition("?>")
        return declaration + mark + head + rest.replace("hello", f"{entity} hello")

    return {
        XML: f"<?xml version='1.0'?>{head}<x><y>{entity} hello</y></x>".encode(),
        ODT: make_odt(f"<text:p>{entity} hello</text:p>", head=head),
        EPUB: make_epub({"a": f"{head}<html><body><p>{entity} hello</p></body></html>"}, spine=["a"], head=head),
        DOCX: with_text(plain(DOCX), "word/document.xml", below),
        PPTX: with_text(plain(PPTX), "ppt/slides/slide1.xml", below),
        XLSX: with_text(plain(XLSX), "xl/worksheets/sheet1.xml", below),
    }


@pytest.mark.parametrize("kind", [XML, ODT, EPUB, DOCX, PPTX, XLSX])
def test_entities_that_multiply_do_not(tmp_path: Path, kind: str) -> None:
    try:
        text = read(tmp_path, parts(LAUGHS)[kind], kind).text
    except UnreadableDocument:
        return
    assert len(text) < 1000


@pytest.mark.parametrize("kind", [XML, ODT, EPUB, DOCX, PPTX, XLSX])
def test_a_file_that_an_entity_names_is_not_read(tmp_path: Path, kind: str) -> None:
    (tmp_path / "secret").write_text(SECRET)
    try:
        text = read(tmp_path, parts(external(tmp_path / "secret"))[kind], kind).text
    except UnreadableDocument:
        return
    assert SECRET not in text


@pytest.mark.parametrize("kind", [XML, ODT, EPUB, DOCX, PPTX, XLSX])
@pytest.mark.parametrize("address", ["http://127.0.0.1:9/x.dtd", "file:///etc/passwd"])
def test_a_dtd_from_elsewhere_is_not_fetched(tmp_path: Path, kind: str, address: str) -> None:
    data = parts(f'<!DOCTYPE x SYSTEM "{address}">', entity="")[kind]
    assert "hello" in read(tmp_path, data, kind).text


REMOTE = (
    '<link rel="stylesheet" href="http://127.0.0.1:9/a.css"><img src="http://127.0.0.1:9/a.png">'
    '<iframe src="http://127.0.0.1:9/a"></iframe><object data="file:///etc/passwd"></object>'
    '<script src="http://127.0.0.1:9/a.js"></script><p style="background:url(http://127.0.0.1:9/b)">hello</p>'
)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (HTML, REMOTE.encode()),
        (EML, f"Subject: x\nContent-Type: text/html\n\n{REMOTE}".encode()),
        (EPUB, make_epub({"a": REMOTE}, spine=["a", "http://127.0.0.1:9/b.xhtml"])),
        (ODT, make_odt('<text:p>hello</text:p><text:section-source xmlns:x="urn:x" x:href="http://127.0.0.1:9/"/>')),
        (LATEX, b"\\input{/etc/passwd}\\include{/etc/passwd}\\includegraphics{http://127.0.0.1:9/a} hello"),
        (RTF, rb'{\rtf1 {\field{\*\fldinst INCLUDETEXT "/etc/passwd"}{\fldrslt }}hello}'),
    ],
)  # fmt: skip
def test_what_lies_elsewhere_is_never_fetched(tmp_path: Path, kind: str, data: bytes) -> None:
    assert read(tmp_path, data, kind).text.split()[-1] == "hello"


def test_pictures_and_templates_from_elsewhere_are_not_fetched_for_office_files(tmp_path: Path) -> None:
    link = (
        '<Relationship Id="rId99" TargetMode="External" Target="http://127.0.0.1:9/x" Type="http://schemas.'
        'openxmlformats.org/officeDocument/2006/relationships/attachedTemplate"/></Relationships>'
    )
    names = {
        DOCX: "word/_rels/document.xml.rels",
        PPTX: "ppt/slides/_rels/slide1.xml.rels",
        XLSX: "xl/_rels/workbook.xml.rels",
    }
    for kind, name in names.items():
        data = with_text(plain(kind), name, lambda text: text.replace("</Relationships>", link))
        assert "hello" in read(tmp_path, data, kind).text


DEEP = 100_000


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (JSON, "[" * DEEP + "]" * DEEP),
        (JSON, '{"a":' * DEEP + "1" + "}" * DEEP),
        (NOTEBOOK, '{"cells":' + "[" * DEEP + "]" * DEEP + "}"),
        (XML, "<a>" * DEEP + "x" + "</a>" * DEEP),
        (RTF, "{\\rtf1 " + "{" * DEEP + "x" + "}" * DEEP + "}"),
        (ODT, make_odt("<text:span>" * 5000 + "x" + "</text:span>" * 5000)),
        (LATEX, "{" * DEEP + "x" + "}" * DEEP),
    ],
)
def test_endless_nesting_is_refused(tmp_path: Path, kind: str, data: bytes | str) -> None:
    with pytest.raises(UnreadableDocument):
        read(tmp_path, data, kind)


def test_endless_nesting_of_a_page_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, "<div>" * 20_000 + "hello", HTML).text == "hello"


def test_a_sheet_that_claims_a_million_rows_is_read_as_far_as_it_is_filled(tmp_path: Path) -> None:
    far = '<row r="1048576"><c r="XFD1048576" t="inlineStr"><is><t>far</t></is></c></row></sheetData>'

    def inflate(text: str) -> str:
        return text.replace('<dimension ref="A1"', '<dimension ref="A1:XFD1048576"').replace("</sheetData>", far)

    loaded = read(tmp_path, with_text(plain(XLSX), "xl/worksheets/sheet1.xml", inflate), XLSX)
    assert loaded.text == "Sheet\n\n| hello |\n\n| far |"


def test_a_cell_of_a_table_may_be_very_long_but_not_endless(tmp_path: Path) -> None:
    assert len(read(tmp_path, 'a,b\n"' + "x" * 200_000 + '",1\n', CSV).text) > 200_000


@pytest.mark.parametrize("line", ["a" * 200_000, "(" * 50_000, "public " * 20_000, "x " * 50_000 + "("])
def test_a_line_of_code_that_drives_a_pattern_mad_is_read(tmp_path: Path, line: str) -> None:
    assert read(tmp_path, line, CODE).text == line
