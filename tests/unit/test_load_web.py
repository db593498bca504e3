from __future__ import annotations

from pathlib import Path

import pytest

from core.domain import LoadedDocument
from core.errors import UnreadableDocument
from ingest.formats.web import load_html


def read(folder: Path, page: str | bytes) -> LoadedDocument:
    path = folder / "page.html"
    path.write_bytes(page if isinstance(page, bytes) else page.encode())
    return load_html(path)


def blocks(loaded: LoadedDocument) -> list[tuple[int, str]]:
    return [(block.level, loaded.text[block.start : block.end]) for block in loaded.blocks]


def test_headings_paragraphs_lists_tables_and_code_become_blocks(tmp_path: Path) -> None:
    page = """<h1>Kerzenfels <small>light</small></h1><p>Built in <b>1821</b> by
      Marta.<br>On a rock.</p>
      <ul><li>oil<ul><li>14 litres</li></ul></li><li>wick</li></ul>
      <table><caption>Fares</caption><tr><th>Who</th><th>Price</th></tr><tr><td>Adult</td><td>11 | 12</td></tr></table>
      <h3>Code</h3><pre>if x:
    y()</pre>loose text"""
    assert blocks(read(tmp_path, page)) == [
        (1, "Kerzenfels light"),
        (0, "Built in 1821 by Marta.\nOn a rock."),
        (0, "- oil\n  - 14 litres\n- wick"),
        (0, "Fares\n| Who | Price |\n| Adult | 11 \\| 12 |"),
        (3, "Code"),
        (0, "if x:\n    y()"),
        (0, "loose text"),
    ]


def test_what_is_not_shown_is_left_out(tmp_path: Path) -> None:
    page = """<head><title>t</title><style>s</style></head><body><nav>menu</nav><script>var a</script><h1>shown</h1>
      <noscript>n</noscript><template>t</template><p hidden>h</p><p style="color:red; display: NONE">d</p>
      <div aria-hidden="true">a</div><svg><title>v</title><text>v</text></svg><button>b</button><!-- c -->
      <td>x<span style="display:none">y</span></td></body>"""
    assert read(tmp_path, page).text == "shown\n\nx"


@pytest.mark.parametrize(
    "style",
    [
        "visibility:collapse",
        "font-size:0",
        "color:red;font-size: 0.0px !important",
        "OPACITY : 0 ;",
        "color:#FFF; background:#fff",
        "background-color: white;color:white",
    ],
)
def test_text_that_a_style_leaves_nothing_of_is_left_out(tmp_path: Path, style: str) -> None:
    assert read(tmp_path, f'<p>shown</p><p style="{style}">obey me</p>').text == "shown"


@pytest.mark.parametrize(
    "style",
    [
        "font-size:0.8em",
        "opacity:0.5",
        "fill-opacity:0",
        "color:#fff;background:#000",
        "color:inherit;background:inherit",
    ],
)
def test_text_whose_style_only_looks_hiding_is_kept(tmp_path: Path, style: str) -> None:
    assert read(tmp_path, f'<p>shown</p><p style="{style}">this too</p>').text == "shown\n\nthis too"


def test_the_title_heads_a_page_that_has_no_heading_of_the_first_level(tmp_path: Path) -> None:
    assert blocks(read(tmp_path, "<title>Ferries\n today</title><h2>Times</h2>")) == [
        (1, "Ferries today"),
        (2, "Times"),
    ]


def test_only_the_main_part_is_read_where_the_page_names_it(tmp_path: Path) -> None:
    page = f"<body><div>teaser</div><main><h1>M</h1><p>{'text ' * 20}</p></main><footer>imprint</footer></body>"
    assert read(tmp_path, page).text == "M\n\n" + ("text " * 20).strip()


def test_a_main_part_that_holds_little_of_the_page_is_not_trusted(tmp_path: Path) -> None:
    page = f"<body><main>soon</main><p>{'text ' * 40}</p></body>"
    assert "text text" in read(tmp_path, page).text


def test_a_table_that_only_arranges_the_page_is_read_as_its_parts(tmp_path: Path) -> None:
    page = "<table><tr><td><h1>Left</h1><p>one</p></td><td><h2>Right</h2><p>two</p></td></tr></table>"
    assert blocks(read(tmp_path, page)) == [(1, "Left"), (0, "one"), (2, "Right"), (0, "two")]


@pytest.mark.parametrize(
    "data",
    [
        "<p>Größe 5 €</p>".encode(),
        "<p>Größe 5 €</p>".encode("utf-8-sig"),
        "<p>Größe 5 €</p>".encode("utf-16"),
        "<p>Größe 5 €</p>".encode("utf-16-le"),
        "<meta charset=iso-8859-1><p>Größe 5 €</p>".encode("cp1252"),
        "<meta http-equiv=Content-Type content='text/html; charset=iso-8859-15'><p>Größe 5 €</p>".encode("iso-8859-15"),
        "<meta charset=nonsense><p>Größe 5 €</p>".encode("cp1252"),
    ],
)
def test_the_encoding_is_found(tmp_path: Path, data: bytes) -> None:
    assert read(tmp_path, data).text == "Größe 5 €"


def test_control_characters_written_as_entities_are_not_kept(tmp_path: Path) -> None:
    text = read(tmp_path, "<p>a&#0;b&#1;c&#xfeff;d&#13;e</p>").text
    assert "\x00" not in text
    assert "\x01" not in text
    assert "\ufeff" not in text
    assert "\r" not in text


def test_a_page_nested_ten_thousand_deep_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, "<div>" * 10_000 + "deep").text == "deep"


@pytest.mark.parametrize("page", ["", "<html><body><script>only()</script></body></html>", "   "])
def test_a_page_without_text_is_refused(tmp_path: Path, page: str) -> None:
    with pytest.raises(UnreadableDocument, match="empty"):
        read(tmp_path, page)
