"""In which language a text is, as far as its analysis needs to know it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

FALLBACK = "en"
# Other scripts' languages, so that a text in them is not taken for one of ours.
STRANGERS = ("bn", "fa", "he", "hi", "ja", "ko", "th", "uk", "ur", "zh")
SURE = 0.8
"""Probability from which on a language counts as told."""
MOST = 2
"""Languages in which a question is asked, beside the fallback, when it is too short to tell."""
SAMPLE = 600
"""Characters that suffice to tell a passage's language."""


class Languages:
    """Tells the language of a text among those it is made with, as two-letter codes (ISO 639-1).

    Naive Bayes over byte n-grams (Lui and Baldwin, "langid.py", ACL 2012), whose model comes with the package.
    """

    def __init__(self, codes: Iterable[str]) -> None:
        self._identifier = _identifier((*codes, *STRANGERS))

    def of_passage(self, text: str) -> str:
        """The passage's language; the fallback when it cannot be told, as in a list of part numbers."""
        code, sureness = self._identifier.classify(text[:SAMPLE])
        return str(code) if sureness >= SURE else FALLBACK

    def of_question(self, text: str) -> list[str]:
        """The languages that the question may be in: one when it is sure, else the likeliest and the fallback."""
        codes: list[str] = []
        sureness = 0.0
        for code, share in self._identifier.rank(text[:SAMPLE])[:MOST]:
            codes.append(str(code))
            sureness += share
            if sureness >= SURE:
                return codes
        return codes if FALLBACK in codes else [*codes, FALLBACK]


@cache
def _identifier(codes: tuple[str, ...]) -> Any:
    """The model for these languages, read once: unpacking it takes most of a second of the processor."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier: Any = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)  # type: ignore[no-untyped-call]
    identifier.set_languages(list(codes))
    return identifier
