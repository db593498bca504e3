from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import InvalidInput
from evals.__main__ import main
from evals.beir import find_datasets, read_dataset
from evals.metrics import MEASURES

ROOT = Path(__file__).resolve().parents[2]
PASSAGES = {
    "oil": "The lamp of the lighthouse burns rapeseed oil.",
    "keeper": "The keeper climbs the tower every evening before dusk.",
    "bread": "Bread is baked from flour, water, salt and yeast.",
    "wheels": "A cargo bicycle with part number ZX-4711 has three wheels.",
}
QUERIES = {"q1": ("What fuel does the lighthouse use?", "oil"), "q2": ("ZX-4711", "wheels")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two tiny sets, the second of which keeps its files in a folder of its own."""
    for place in (tmp_path / "harbour", tmp_path / "town" / "en" / "beir"):
        (place / "qrels").mkdir(parents=True)
        write(place / "corpus.jsonl", [{"_id": key, "title": "", "text": text} for key, text in PASSAGES.items()])
        write(place / "queries.jsonl", [{"_id": key, "text": text} for key, (text, _) in QUERIES.items()])
        lines = [f"{key}\t{passage}\t1" for key, (_, passage) in QUERIES.items()]
        (place / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines, "q2\toil\t0"]))
    return tmp_path


def write(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("\n".join(json.dumps(row) for row in rows), "utf-8")


def test_the_command_measures_every_set_with_the_parts_of_the_product(folder: Path) -> None:
    words = ["--cache", "cache", "--out", "figures.json", "--plot", "plot.png"]
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "evals", "retrieval", "--data", str(folder), *words],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT), "RERANKER__MODEL": "late-interaction"},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert len(list((folder / "cache").iterdir())) == 2, "the same passages and questions are embedded once"
    assert (folder / "plot.png").read_bytes().startswith(b"\x89PNG")
    results = json.loads((folder / "figures.json").read_text("utf-8"))
    assert {(result["dataset"], result["questions"]) for result in results} == {("harbour", 2), ("town/en", 2)}
    by_system = {result["system"]: result for result in results}
    assert by_system.keys() == {"dense", "lexical", "hybrid", "hybrid + rerank"}
    for system in ("hybrid", "hybrid + rerank"):
        assert by_system[system]["means"] == dict.fromkeys(MEASURES, 1.0)
    assert "| harbour (2) | hybrid | 1.000 |" in done.stdout


def test_questions_without_a_relevant_passage_are_left_out(folder: Path) -> None:
    place = folder / "harbour"
    (place / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\toil\t2\nq2\toil\t0\n")
    dataset = read_dataset(place, folder)
    assert dict(dataset.queries) == {"q1": QUERIES["q1"][0]}
    assert dataset.judgements == {"q1": {"oil": 2}}


def test_a_title_that_the_text_begins_with_is_not_repeated(folder: Path) -> None:
    rows = [
        {"_id": "1", "title": "Lamps", "text": "Lamps burn oil."},
        {"_id": "2", "title": "Lamps", "text": "They burn oil."},
        {"_id": "3", "title": "Lamps", "text": ""},
    ]
    write(folder / "harbour" / "corpus.jsonl", rows)
    passages = read_dataset(folder / "harbour", folder).passages
    assert [(passage.title, passage.text) for passage in passages] == [
        ("", "Lamps burn oil."),
        ("Lamps", "They burn oil."),
        ("", "Lamps"),
    ]


def test_a_folder_without_sets_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InvalidInput, match="holds no retrieval set"):
        find_datasets(tmp_path)
    assert main(["retrieval", "--data", str(tmp_path)]) == 2
    assert "holds no retrieval set" in capsys.readouterr().err


def test_a_set_without_judgements_says_what_is_missing(folder: Path) -> None:
    (folder / "harbour" / "qrels" / "test.tsv").unlink()
    with pytest.raises(InvalidInput, match=r"qrels/\*\.tsv is missing"):
        read_dataset(folder / "harbour", folder)


def test_an_unknown_command_is_refused_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cooking"]) == 2
    assert "{retrieval,chunking,tuning," in capsys.readouterr().err


def test_a_chunking_set_is_measured_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = " ".join(PASSAGES.values())
    (tmp_path / "corpora").mkdir()
    (tmp_path / "corpora" / "harbour.md").write_text(text, "utf-8")
    start = text.index("rapeseed")
    reference = json.dumps([{"content": "rapeseed oil", "start_index": start, "end_index": start + 12}])
    quoted = reference.replace('"', '""')
    (tmp_path / "questions_df.csv").write_text(
        f'question,references,corpus_id\nWhat does the lamp burn?,"{quoted}",harbour\n', "utf-8"
    )
    assert main(["retrieval", "--data", str(tmp_path), "--out", str(tmp_path / "figures.json")]) == 0
    assert "100.0 ± 0.0" in capsys.readouterr().out
    assert json.loads((tmp_path / "figures.json").read_text("utf-8"))
