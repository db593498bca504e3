from __future__ import annotations

from evals.beir import Dataset
from evals.rewriting import PLAIN, Reworded, rows_of
from tools.variants import Variant


def test_a_row_tells_what_a_way_wins_over_the_question_alone() -> None:
    dataset = Dataset(name="set", passages=[], queries={"q": "Why?"}, judgements={"q": {"right": 1}})
    item = Reworded("q", {PLAIN: (), "+ other": [Variant("How come?")]}, {PLAIN: 0.0, "+ other": 2.0})
    found = {PLAIN: [["wrong", "right"]], "+ other": [["right", "wrong"]]}
    plain, other = rows_of(dataset, found, [item])
    assert plain == [PLAIN, "0.631", "1.000", "", "", ""]
    assert other == ["+ other", "1.000", "1.000", "+0.369 (+0.369 to +0.369)", "2.0", "2.0"]
