"""Real files, tricky ones among them: what must be in the text, or which reason is given, for every one of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.domain import LoadedDocument
from core.errors import UnreadableDocument, UnsupportedType
from ingest.load import Loader, open_loader
from ingest.media import HEAD_BYTES, detect
from ingest.options import ReadOptions

SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "data" / "documents"
pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="needs the sample documents in ../shared/data/documents")

SCANNED = r"1 of 1 pages need OCR \(.*install tesseract.*: 1\."
READ = {
    "unstructured__multi-column-2p.pdf": "Open-domain question answering relies on efficient passage retrieval to",
    "unstructured__layout-parser-paper-fast.pdf": "DL models are notoriously convoluted for reuse and extension",
    "unstructured__layout-parser-paper-with-table.pdf": "Table 1: Current layout detection models in the LayoutPars",
    "unstructured__copy-protected.pdf": "DL models are notoriously convoluted for reuse and extension",
    "unstructured__pdf-with-ocr-text.pdf": "enclosing their check and executed c",
    "unstructured__invalid-pdf-structure-pdfminer-one-page.pdf": "Establishing Leadership in Cybersecurity",
    "unstructured__failure-after-repair.pdf": "the cancer is not sensitive to hormone therapy (see pages 46–49)",
    "unstructured__korean-text-with-tables.pdf": "전월 이용금액 40만원 이상 시 제공",
    "unstructured__embedded-cmap-cidfont.pdf": "This text uses an embedded CMap and should be extractable",
    "unstructured__pdf2image-memory-error-test-400p.pdf": "This transmits revised IRM 2.3.59, IDRS Terminal Responses",
    "unstructured__a1977-backus-p21.pdf": "it permits the definition of new functional forms",
    "unstructured__rotated-page-90.pdf": "Hello World Test Text Second line of text here",
    "docling__right_to_left_01.pdf": "تعزز الإنتاجية وتساعد في إيجاد حلول فعالة للمشكلات",
    "docling__right_to_left_02.pdf": "ضووء اللحوديخت الإقايميوة",
    "docling__README.md": "Opening password: `1234`",
    "sample-files__habibi.pdf": "habibi",
    "sample-files__with-attachment.pdf": "Lorem ipsum dolor sit amet, consetetur sadipscing elitr",
    "sample-files__annotated_pdf.pdf": "Comment: This is a text annotation.",
    "sample-files__pdflatex-forms.pdf": "Check: Off",
    "pypdf__r6-empty-password.pdf": "pdf encryption test",
    "tika__test_recursive_embedded.docx": "embed_0",
    "tika__NullHeader.docx": "Hundreds injured in Yemen protest",
    "tika__massive_embedded.xml": "write: main_content",
    "tika__testRTFJapanese.rtf": "様々に描かれてきた２人の最期が、冷静で落ち着いたものだったことがよく分かった",
    "tika__testRTFCorruptListOverride.rtf": "There are 90 naturally occurring kinds of apples.",
    "tika__multi-language.txt": "Port ABC doação uno negócios",
    "markitdown__test.docx": "AutoGen is an open-source framework that allows developers to build LLM",
    "markitdown__equations.docx": "For m=1,",
    "markitdown__test_with_comment.docx": "AutoGen is an open-source framework that allows developers to build LLM",
    "markitdown__test.pptx": "| 7 | 8 | 9 | 1b92870d-e3b5-4e65-8153-919f4ff45592 | 11 | 12 |",
    "markitdown__test.xlsx": "09060124-b5e7-4717-9d07-3c046eb\n\n| ColA | ColB | ColC | ColD |\n| 1 | 2 | 3 | 4 |",
    "markitdown__test_mskanji.csv": "| 髙橋淳 | 35 | 名古屋 |",
    "markitdown__test_notebook.ipynb": "# comment in code\nprint(42)\n\n42",
    "markitdown__test_outlook_msg.msg": "From: M. C. Kurtuluş <muratcan.kurtulus@gmail.com>",
    "markitdown__test_wikipedia.html": "Cobalt CPU, designed to pow",
    "markitdown__test_serp.html": "About 310,000 results",
    "markitdown__SPARSE-2024-INV-1234_borderless_table.pdf": "Report ID: SPARSE-2024-INV-1234",
    "markitdown__REPAIR-2022-INV-001_multipage.pdf": "Insured name Gabriel Diaz",
    "markitdown__REPAIR-2022-INV-001_multipage.md": "ZAVA AUTO REPAIR",
    "unstructured__docx-tables.docx": "| d | e f g&t h | i |",
    "unstructured__fake-power-point-malformed.pptx": "Problem Date Placeholder",
    "docling__xlsx_04_inflated.xlsx": "Sheet1\n\n| first | second | third |\n| 1 | 5 | 9 |",
    "unstructured__fake-text-utf-16.txt": "Hamburgers are delicious",
    "unstructured__UDHR_first_article_all.txt": "އެވެ. އަދި އެކަކު އަނެކަކާމެދު",
    "unstructured__example-steelJIS-datasheet-utf-16.html": "Chemical composition 成分",
    "unstructured__example-with-scripts.html": "Russian Offensive Campaign Assessment, December 13",
    "unstructured__fake-html-cp1252.html": "Die schöne Frau hat einen Kaffee",
    "unstructured__csv-with-long-lines.csv": "1Freq CD161CD8TfrequencyUnstim: 0.17301315",
    "unstructured__csv-with-escaped-commas.csv": "| A | A | A | A,A | A |",
    "docling__csv-too-many-columns.csv": "| a | b | c | d | e |",
    "unstructured__file_we_dont_want_imported": "wombat",
    "unstructured__fake-email-malformed-encoding.eml": "This is a test email to use for unit tests.",
    "docling__html_rich_table_cells.html": "| Swim | Gracefully glide on H2O surfaces. |",
    "docling__escaped_characters.md": "&amp; &lt; &gt; &quot; &#39;",
    "docling__wiki.md": "# IBM\n\nInternational Business Machines Corporation",
    "docling__main.tex": "Attention Is All You Need",
    "financebench__ULTABEAUTY_2023Q4_EARNINGS.pdf": "Net sales increased 18.2% to $3.2 billion",
    "pdfjs__poppler-67295-0.pdf": "TestString123",
    "pdfjs__poppler-91414-0-53.pdf": "foobar",
    "pdfjs__poppler-91414-0-54.pdf": "foobar",
    "pdfjs__Pages-tree-refs.pdf": "Testcase: ’Pages loop’",
    "pdfjs__issue9105_reduced.pdf": "Issue 9105",
    "pdfjs__xref_command_missing.pdf": "Reduced test-case",
    "pdfjs__bug1132849.pdf": "2345678",
    "pdfjs__noembed-eucjp.pdf": "あいうえお",
    "pdfjs__ArabicCIDTrueType.pdf": "انواع الخطوط العربية",
    "pdfjs__TAMReview.pdf": "Overview of the Technology Acceptance Model",
    "pdfjs__tracemonkey.pdf": "Trace-based Just-in-Time Type Specialization for Dynamic Languages",
}
REFUSED = {
    "unstructured__password.pdf": "encrypted: remove the password",
    "docling__2206.01062_pg3.pdf": "encrypted: remove the password",
    # The manifest expects it to open. It does so only with the password "asdfzxcv": the empty one is refused.
    "pypdf__r6-user-password.pdf": "encrypted: remove the password",
    "unstructured__loremipsum-flat.pdf": SCANNED,
    "docling__ocr_test_rotated_180.pdf": SCANNED,
    "tika__testOCR.pdf": SCANNED,
    "markitdown__MEDRPT-2024-PAT-3847_medical_report_scan.pdf": r"3 of 3 pages need OCR .*: 1-3\.",
    "pdfjs__issue5280.pdf": SCANNED,
    "sample-files__unreadablemetadata.pdf": "The PDF is damaged",
    "pdfjs__poppler-742-0-fuzzed.pdf": "The PDF is damaged",
    "pdfjs__GHOSTSCRIPT-698804-1-fuzzed.pdf": "The PDF holds no text",
    "pdfjs__empty.pdf": "The PDF holds no text",
    "pdfjs__bug1606566.pdf": "is not a PDF: it looks like plain text",
    "tika__testEXCEL_protected_passtika.xlsx": "Save it as .xlsx without a password",
    "tika__testODTEncrypted.odt": "The ODT is encrypted: remove the password",
    "unstructured__empty.xlsx": "holds no text",
    "unstructured__fake-encrypted.eml": "The message is encrypted",
    "pypdf__lzw_decoder_table_overflow.bin": "of a type that cannot be read",
    "markitdown__random.bin": "of a type that cannot be read",
}


@pytest.fixture(scope="module")
async def loader() -> AsyncIterator[Loader]:
    async with open_loader(timeout_s=120, memory_mb=512, options=ReadOptions(ocr=False)) as opened:
        yield opened


async def read(loader: Loader, name: str) -> LoadedDocument:
    path = SAMPLES / name
    return await loader.load(path, detect(name.partition("__")[2], path.read_bytes()[:HEAD_BYTES]))


async def test_every_file_of_the_manifest_is_read_or_refused() -> None:
    manifest = {entry["file"] for entry in json.loads((SAMPLES / "manifest.json").read_text("utf-8"))}
    assert manifest == {*READ, *REFUSED}
    assert not {*READ} & {*REFUSED}


@pytest.mark.parametrize("name", READ)
async def test_a_file_that_can_be_read_gives_its_text(loader: Loader, name: str) -> None:
    loaded = await read(loader, name)
    assert READ[name] in loaded.text
    assert loaded.blocks


@pytest.mark.parametrize("name", REFUSED)
async def test_a_file_that_cannot_be_read_says_why(loader: Loader, name: str) -> None:
    with pytest.raises((UnreadableDocument, UnsupportedType), match=REFUSED[name]):
        await read(loader, name)


@pytest.mark.parametrize(
    ("name", "unwanted"),
    [
        ("markitdown__test_serp.html", "function("),
        ("unstructured__example-with-scripts.html", "function("),
        ("markitdown__test_with_comment.docx", "This is a test comment"),
    ],
)
async def test_scripts_and_comments_are_left_out(loader: Loader, name: str, unwanted: str) -> None:
    assert unwanted not in (await read(loader, name)).text


@pytest.mark.parametrize(
    ("name", "heading", "level"),
    [
        ("markitdown__test.docx", "d666f1f7-46cb-42bd-9a39-9a39cf2a509f", 2),
        ("markitdown__test_notebook.ipynb", "Code Cell Below", 2),
        ("docling__wiki.md", "IBM", 1),
        ("docling__main.tex", "Model Architecture", 1),
        ("markitdown__test.xlsx", "Sheet1", 1),
        ("markitdown__test.pptx", "A table to test parsing:", 1),
    ],
)
async def test_headings_survive(loader: Loader, name: str, heading: str, level: int) -> None:
    loaded = await read(loader, name)
    assert (heading, level) in [(loaded.text[block.start : block.end], block.level) for block in loaded.blocks]


@pytest.mark.parametrize(
    ("name", "warning"),
    [
        ("sample-files__with-attachment.pdf", "Attachments that were not read: 'image.png'"),
        ("unstructured__failure-after-repair.pdf", "it calls sheet 1 'i'"),
        ("unstructured__pdf2image-memory-error-test-400p.pdf", "cannot see was left out"),
        ("pdfjs__Pages-tree-refs.pdf", "1 of 2 pages were left out (they are damaged): 2."),
        ("pdfjs__TAMReview.pdf", "21 of 23 pages need OCR"),
    ],
)
async def test_what_was_left_out_is_named(loader: Loader, name: str, warning: str) -> None:
    assert any(warning in said for said in (await read(loader, name)).warnings)


async def test_the_pages_of_a_long_document_are_those_of_its_file(loader: Loader) -> None:
    loaded = await read(loader, "unstructured__pdf2image-memory-error-test-400p.pdf")
    assert [page.number for page in loaded.pages] == list(range(1, 401))
