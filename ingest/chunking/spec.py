"""How the documents of a collection are cut: a strategy and its options, checked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from core.errors import InvalidInput
from core.settings import IngestSettings

if TYPE_CHECKING:  # the user interface reads specs, and no model
    from models.embedder import Embedder

LEAST_TOKENS = 32
MOST_TOKENS = 8192
TOKENS = 160
PARENT_TOKENS = 640
GROUP_TOKENS = 48
SEPARATORS = ("\n\n", "\n", ".", "?", "!", " ")
REVISION = {"tokens": 1, "sentences": 1, "recursive": 1, "semantic": 1, "structure": 2}
"""Raised when a strategy gives other chunks for the same text and options."""

Tokens = Annotated[int, Field(ge=LEAST_TOKENS, le=MOST_TOKENS, description="longest chunk, in the embedder's tokens")]
Separator = Annotated[str, Field(min_length=1, max_length=20)]


class _Options(BaseModel):
    """What every strategy has."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strategy: str
    tokens: Tokens = TOKENS

    @property
    def stamp(self) -> str:
        """A short text that changes whenever equal text may give other chunks."""
        options = self.model_dump(mode="json", exclude={"strategy"})
        words = ",".join(f"{name}={json.dumps(value, separators=(',', ':'))}" for name, value in options.items())
        return f"{self.strategy}-{REVISION[self.strategy]}:{words}"


class _Overlapping(_Options):
    """What strategies have whose chunks may repeat the end of the one before."""

    overlap: int = Field(0, ge=0, description="tokens of a chunk that repeat the end of the one before")

    @model_validator(mode="after")
    def _goes_forward(self) -> Self:
        if self.overlap >= self.tokens:
            raise ValueError(
                f"overlap is {self.overlap} and tokens {self.tokens}: a chunk must hold more than it repeats, so "
                f"choose an overlap below {self.tokens}"
            )
        return self


class TokensSpec(_Overlapping):
    """A fixed number of tokens, wherever they end."""

    strategy: Literal["tokens"] = "tokens"


class SentencesSpec(_Overlapping):
    """Whole sentences, as many as fit."""

    strategy: Literal["sentences"] = "sentences"


class RecursiveSpec(_Overlapping):
    """At paragraphs, and where they are too long at lines, sentences, words."""

    strategy: Literal["recursive"] = "recursive"
    separators: tuple[Separator, ...] = Field(SEPARATORS, description="where to cut, coarsest first")


class SemanticSpec(_Options):
    """Where the text changes its subject, by the embeddings of small groups of sentences."""

    strategy: Literal["semantic"] = "semantic"
    group_tokens: int = Field(
        GROUP_TOKENS, ge=8, description="longest group of sentences that is embedded to find the cuts"
    )

    @model_validator(mode="after")
    def _groups_make_chunks(self) -> Self:
        if self.group_tokens > self.tokens:
            raise ValueError(
                f"group_tokens is {self.group_tokens} and tokens {self.tokens}: chunks are made of groups, so choose "
                f"at most {self.tokens}"
            )
        return self


class StructureSpec(_Options):
    """Along headings, paragraphs, tables, lists and code; a chunk holds no text of two sections."""

    strategy: Literal["structure"] = "structure"
    table_header: bool = Field(True, description="embed the header of a table with each of its chunks")
    parent_tokens: Tokens = Field(PARENT_TOKENS, description="longest parent, of whole chunks of one section")


ChunkerSpec = Annotated[
    TokensSpec | SentencesSpec | RecursiveSpec | SemanticSpec | StructureSpec, Field(discriminator="strategy")
]
_ADAPTER: TypeAdapter[ChunkerSpec] = TypeAdapter(ChunkerSpec)


def read_spec(options: Any) -> ChunkerSpec:
    """The spec from its JSON, as a collection's row keeps it."""
    return _ADAPTER.validate_python(options)


def default_spec(settings: IngestSettings, embedder: Embedder) -> ChunkerSpec:
    """How a new collection is cut for which nothing was chosen; the size is bounded by what the embedder reads."""
    tokens = min(settings.chunk_tokens, embedder.max_tokens)
    # A group is never longer than a chunk.
    options = {"group_tokens": min(tokens, GROUP_TOKENS)} if settings.chunker == "semantic" else {}
    return read_spec({"strategy": settings.chunker, "tokens": tokens, **options})


def check_spec(spec: ChunkerSpec, embedder: Embedder) -> None:
    """Refuse chunks that the embedder would cut off.

    Raises:
        InvalidInput: naming the most tokens that fit.
    """
    if spec.tokens > embedder.max_tokens:
        raise InvalidInput(
            f"chunker.tokens is {spec.tokens}, but the embedder {embedder.name!r} reads no more than "
            f"{embedder.max_tokens} tokens of a chunk: choose at most {embedder.max_tokens}."
        )
