"""CSV, JSON, JSONL, XML, notebooks, LaTeX and source code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from core.domain import LoadedDocument
from core.errors import UnreadableDocument
from ingest.formats.delimited import load_csv
from ingest.formats.latex import load_latex
from ingest.formats.markup import load_xml
from ingest.formats.notebook import load_notebook
from ingest.formats.records import load_json, load_jsonl
from ingest.formats.source import load_source
from ingest.formats.table import GROUP_CHARS


def read(load: Callable[[Path], LoadedDocument], folder: Path, data: str | bytes) -> list[tuple[int, str]]:
    path = folder / "file"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    loaded = load(path)
    return [(block.level, loaded.text[block.start : block.end]) for block in loaded.blocks]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_of_a_table_is_recognised(tmp_path: Path, delimiter: str) -> None:
    data = f'name{delimiter}note\nAnna{delimiter}"one{delimiter} two"\nBo{delimiter}\n'
    last = "one\\| two" if delimiter == "|" else f"one{delimiter.strip()} two"
    assert read(load_csv, tmp_path, data) == [(0, f"| name | note |\n| Anna | {last} |\n| Bo |")]


def test_rows_of_many_and_of_few_columns_are_kept(tmp_path: Path) -> None:
    assert read(load_csv, tmp_path, "1,2,3\n4\n5,6,7,8\n") == [(0, "| 1 | 2 | 3 |\n| 4 |\n| 5 | 6 | 7 | 8 |")]


def test_every_group_of_rows_has_the_header(tmp_path: Path) -> None:
    rows = [f"ship {n},{n}" for n in range(200)]
    found = read(load_csv, tmp_path, "\n".join(["name,number", *rows]))
    assert len(found) > 5
    assert all(text.startswith("| name | number |\n| ship ") for _, text in found)
    assert all(len(text) <= GROUP_CHARS + 50 for _, text in found)
    assert sum(text.count("| ship ") for _, text in found) == 200


def test_a_row_of_long_cells_names_the_column_of_each(tmp_path: Path) -> None:
    story = "word " * 300
    found = read(load_csv, tmp_path, f"name,story\nAnna,{story}\nBo,short\n")
    assert found == [(0, f"name: Anna\nstory: {story.strip()}"), (0, "| name | story |\n| Bo | short |")]


def test_a_table_in_a_japanese_encoding_is_decoded(tmp_path: Path) -> None:
    text = "名前,住所\n髙橋淳,名古屋の駅の近く\n佐藤太郎,東京の海の見える町\n"
    assert read(load_csv, tmp_path, text.encode("cp932"))[0][1].splitlines()[1] == "| 髙橋淳 | 名古屋の駅の近く |"


def test_json_is_read_by_paths_and_its_numbers_stay_as_written(tmp_path: Path) -> None:
    data = '{"port": "Tornby", "open": true, "none": null, "ships": [{"name": "Anna", "at": [1.50]}, {"name": "Bo"}]}'
    assert read(load_json, tmp_path, data) == [
        (0, "port: Tornby\nopen: true"),
        (1, "ships"),
        (0, "name: Anna\nat[0]: 1.50"),
        (0, "name: Bo"),
    ]


def test_a_list_of_records_is_a_block_for_each(tmp_path: Path) -> None:
    assert read(load_json, tmp_path, '[{"a": 1}, {"a": {"b": 2}}]') == [(0, "a: 1"), (0, "a.b: 2")]


def test_lines_of_json_are_read_and_bad_ones_named(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text('{"a": 1}\n\n{oops\n{"a": 2}\n')
    loaded = load_jsonl(path)
    assert loaded.text == "a: 1\n\na: 2"
    assert list(loaded.warnings) == ["1 lines are not valid JSON and were left out: 3."]
    assert read(load_json, tmp_path, '{"a": 1}\n{"a": 2}\n') == [(0, "a: 1"), (0, "a: 2")]


def test_json_that_is_not_valid_says_where(tmp_path: Path) -> None:
    with pytest.raises(UnreadableDocument, match="line 2, column 6"):
        read(load_json, tmp_path, '{\n"a": oops}')
    with pytest.raises(UnreadableDocument, match="No line"):
        read(load_jsonl, tmp_path, "oops\n")


def test_xml_is_read_by_paths_with_titles_as_headings(tmp_path: Path) -> None:
    data = (
        '<?xml version="1.0" encoding="ISO-8859-1"?><!DOCTYPE book SYSTEM "book.dtd"><book lang="de"><chapter>'
        "<title>Größe</title><para>a <em>mixed</em> line</para><!-- remark -->"
        "<ship name='Anna'>7</ship></chapter></book>"
    )
    assert read(load_xml, tmp_path, data.encode("latin-1")) == [
        (0, "book@lang: de"),
        (2, "Größe"),
        (0, "chapter.para: a mixed line\nchapter.ship@name: Anna\nchapter.ship: 7"),
    ]


def test_a_notebook_is_its_cells_and_the_text_of_their_outputs(tmp_path: Path) -> None:
    outputs = [
        {"output_type": "stream", "text": ["4", "2\n"]},
        {"output_type": "execute_result", "data": {"text/plain": "<Figure>", "image/png": "iVBOR"}},
        {"output_type": "error", "ename": "ValueError", "evalue": "\x1b[31mno\x1b[0m", "traceback": ["long"]},
    ]
    cells = [
        {"cell_type": "markdown", "source": ["# Harbour\n", "text"]},
        {"cell_type": "code", "source": "print(42)", "outputs": outputs},
    ]
    assert read(load_notebook, tmp_path, json.dumps({"cells": cells, "nbformat": 4})) == [
        (1, "Harbour"),
        (0, "text"),
        (0, "print(42)"),
        (0, "42"),
        (0, "<Figure>"),
        (0, "ValueError: no"),
    ]


def test_json_without_cells_is_no_notebook(tmp_path: Path) -> None:
    with pytest.raises(UnreadableDocument, match="no notebook"):
        read(load_notebook, tmp_path, '{"a": 1}')


LATEX = r"""\documentclass{article}
\title{The \emph{Harbour}}
\begin{document}
\maketitle % not text
\section{History \label{s}}
It cost 5\,\% of $x^2$ \cite{olsund}.

\begin{itemize}\item one \item two\end{itemize}
\subsection*{Ships}
\begin{tabular}{l|r}\hline ship & crew \\ \hline Anna & 7 \\ \end{tabular}
\begin{verbatim}
ls -l
\end{verbatim}
\input{/etc/passwd}
\end{document}
not text"""


def test_latex_keeps_sections_lists_tables_formulas_and_listings(tmp_path: Path) -> None:
    assert read(load_latex, tmp_path, LATEX) == [
        (1, "The Harbour"),
        (1, "History"),
        (0, "It cost 5 % of $x^2$ ."),
        (0, "- one\n- two"),
        (2, "Ships"),
        (0, "| ship | crew |\n| Anna | 7 |"),
        (0, "ls -l"),
    ]


@pytest.mark.parametrize(
    ("code", "headings"),
    [
        ("import os\n\nclass Ship:\n    def sail(self):\n        if (x):\n            go()\n\ndef main(): ...\n",
         [(1, "class Ship:"), (2, "def sail(self):"), (1, "def main(): ...")]),
        ("export class A {\n  run() {\n    return f(x) {\n  }\n}\nasync function go() {\n}\n",
         [(1, "export class A {"), (1, "async function go() {")]),
        ("package main\n\nfunc (s *Ship) Sail(x int) error {\n\treturn nil\n}\ntype Ship struct {\n}\n",
         [(1, "func (s *Ship) Sail(x int) error {"), (1, "type Ship struct {")]),
        ("pub fn sail(x: u8) -> u8 {\n    x\n}\nimpl Ship {\n}\n",
         [(1, "pub fn sail(x: u8) -> u8 {"), (1, "impl Ship {")]),
        ("public class Ship {\n    public static int sail(int x) {\n        while (x > 0) {\n        }\n    }\n}\n",
         [(1, "public class Ship {"), (2, "public static int sail(int x) {")]),
    ],
    ids=["python", "javascript", "go", "rust", "java"],
)  # fmt: skip
def test_functions_and_classes_are_headings_and_no_line_of_code_is_lost(
    tmp_path: Path, code: str, headings: list[tuple[int, str]]
) -> None:
    found = read(load_source, tmp_path, code)
    assert [pair for pair in found if pair[0]] == headings
    assert "".join("".join(text for _, text in found).split()) == "".join(code.split())
