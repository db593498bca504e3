from __future__ import annotations

import pytest

from ui.markup import answer_markdown, draft_markdown, passage_html, plain, plain_block, quote_html


def test_marks_with_a_citation_become_badges_and_others_stay_text() -> None:
    assert answer_markdown("It opened [1] then [2].", {1}) == "It opened :primary-badge[1] then [2]."


def test_a_link_is_not_taken_for_a_mark() -> None:
    assert answer_markdown("[1](https://example.org)", {1}) == "[1](https://example.org)"


def test_dollar_signs_are_no_formulas() -> None:
    assert answer_markdown("From $5 to $10") == r"From \$5 to \$10"


def test_images_are_not_fetched() -> None:
    assert "![" not in answer_markdown("![x](https://example.org/?secret)").replace(r"!\[", "")


@pytest.mark.parametrize("code", ["`a[1] = $x`", "```\n![a](b) [1] $\n```", "```\nnot closed [1]"])
def test_code_is_left_as_it_is(code: str) -> None:
    assert answer_markdown(f"See {code}", {1}) == f"See {code}"


def test_a_draft_has_no_marks() -> None:
    assert draft_markdown("It opened in 1894 [3].") == "It opened in 1894 ."


def test_a_draft_in_capitals_only_is_not_shown() -> None:
    assert draft_markdown("NOT FOU") == ""
    assert draft_markdown("NATO was founded") == "NATO was founded"


def test_plain_text_is_shown_letter_by_letter() -> None:
    assert plain("a_b *c*\n[1] $x :smile:") == r"a\_b \*c\* \[1\] \$x \:smile\:"


def test_lines_of_a_question_stay_lines() -> None:
    assert plain_block("One\n# Two\n") == "One  \n\\# Two"


def test_html_in_a_document_is_text() -> None:
    assert "<script>" not in passage_html("<script>", "<b>q</b>", "</div>")
    assert ">&lt;b&gt;q&lt;/b&gt;</mark>" in passage_html("<script>", "<b>q</b>", "</div>")
    assert quote_html("<i>a</i>\n b") == '<blockquote class="rs-quote">&lt;i&gt;a&lt;/i&gt; b</blockquote>'
