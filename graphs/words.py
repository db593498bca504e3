"""Words as the grounding checks compare them."""

from __future__ import annotations

import re

# Function words carry no claim. The list is short on purpose: a word too many only makes the checks more careful.
STOP_WORDS = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "been",
        "being",
        "but",
        "by",
        "can",
        "could",
        "did",
        "do",
        "does",
        "for",
        "from",
        "had",
        "has",
        "have",
        "he",
        "her",
        "him",
        "his",
        "how",
        "i",
        "if",
        "in",
        "into",
        "is",
        "it",
        "its",
        "may",
        "me",
        "might",
        "more",
        "most",
        "must",
        "my",
        "no",
        "not",
        "of",
        "on",
        "or",
        "our",
        "shall",
        "she",
        "should",
        "so",
        "some",
        "such",
        "than",
        "that",
        "the",
        "their",
        "them",
        "then",
        "there",
        "these",
        "they",
        "this",
        "those",
        "to",
        "was",
        "we",
        "were",
        "what",
        "when",
        "where",
        "which",
        "while",
        "who",
        "whom",
        "whose",
        "why",
        "will",
        "with",
        "would",
        "you",
        "your",
        "about",
        "also",
        "any",
        "because",
        "both",
        "each",
        "between",
        "during",
        "only",
        "other",
        "over",
        "same",
        "under",
        "until",
        "very",
        "yes",
        "according",
        "based",
        "passage",
        "passages",
        "document",
        "documents",
        "answer",
        "question",
        "aber",
        "als",
        "am",
        "an",
        "auch",
        "auf",
        "aus",
        "bei",
        "bin",
        "bis",
        "da",
        "das",
        "dass",
        "dem",
        "den",
        "der",
        "des",
        "die",
        "durch",
        "ein",
        "eine",
        "einem",
        "einen",
        "einer",
        "es",
        "für",
        "hat",
        "ich",
        "ihr",
        "im",
        "in",
        "ist",
        "kann",
        "mit",
        "nach",
        "nicht",
        "oder",
        "sich",
        "sie",
        "sind",
        "so",
        "über",
        "um",
        "und",
        "von",
        "vor",
        "war",
        "was",
        "wie",
        "wir",
        "wird",
        "zu",
        "zum",
        "zur",
    ]
)

WORD = re.compile(r"[0-9]+(?:[.,:/-][0-9]+)*|[^\W\d_]+(?:['’][^\W\d_]+)?", re.UNICODE)
UNSPACED = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
STEM = 6


def stem(word: str) -> str:
    """The word's first six letters: truncation is a language-independent stemmer.

    McNamee and Mayfield, "Character N-Gram Tokenization for European Language Text Retrieval", Information Retrieval
    7, 2004. Numbers are kept whole.
    """
    word = word.casefold().removesuffix("'s").removesuffix("’s")
    return word if word[:1].isdigit() else word[:STEM]


def content_words(text: str) -> list[str]:
    """Stems of the words that carry meaning, in order; scripts without spaces give a stem per character."""
    found: list[str] = []
    for word in WORD.findall(text):
        if UNSPACED.search(word):
            found.extend(word)
        elif word.casefold() not in STOP_WORDS:
            found.append(stem(word))
    return found


def coverage(wanted: list[str], there: set[str]) -> float:
    """The share of ``wanted`` that is in ``there``, 0 to 1; 0 when nothing is wanted."""
    return sum(word in there for word in wanted) / len(wanted) if wanted else 0.0
