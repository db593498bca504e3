"""The stage of a search in which a reranker orders the best matches anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.domain import ChunkId, Scope, Scores
from core.settings import RerankerSettings
from models.reranker import Reranker
from tools.fusion import RERANK_SHARE, rerank, scored
from tools.passages import Passages


@dataclass(frozen=True, slots=True, kw_only=True)
class Reranking:
    """A reranker and how it is used: on the best ``candidates``, weighing ``share`` against the index.

    ``default`` says whether searches use it that do not say.
    """

    reranker: Reranker
    candidates: int
    share: float = RERANK_SHARE
    default: bool = False

    async def __call__(
        self,
        text: str,
        matches: Sequence[tuple[ChunkId, Scores]],
        *,
        passages: Passages,
        scope: Scope,
        trust: float,
    ) -> list[tuple[ChunkId, Scores]]:
        """The matches with the best ordered anew; ``trust``, 0 to 1, lowers the reranker's share."""
        hits = await passages.hits(matches[: self.candidates], scope)
        scores = await self.reranker.score(text, [hit.chunk.embedded_text for hit in hits])
        return rerank(matches, scored([hit.chunk.id for hit in hits], scores), share=self.share * trust)


def reranking(reranker: Reranker, settings: RerankerSettings) -> Reranking:
    """The stage as the settings say."""
    return Reranking(reranker=reranker, candidates=settings.candidates, share=settings.share, default=settings.default)
