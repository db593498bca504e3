"""How the documents of a collection are cut: a strategy and its options, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from core.errors import InvalidInput
from core.settings import IngestSettings

if TYPE_CHECKING:  # the user interface reads specs, and no model
    from models.embedder import Embedder

LEAST_TOKENS = 32
MOST_TOKENS = 8192
TOKENS = 160
PARENT_TOKENS = 640
REVISION = {"structure": 2}
"""Raised when a strategy gives other chunks for the same text and options."""

Tokens = Annotated[int, Field(ge=LEAST_TOKENS, le=MOST_TOKENS, description="longest chunk, in the embedder's tokens")]


class _Options(BaseModel):
    """What every strategy has."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strategy: str
    tokens: Tokens = TOKENS

    @property
    def stamp(self) -> str:
        """A short text that changes whenever equal text may give other chunks."""
        options = self.model_dump(mode="json", exclude={"strategy"})
        words = ",".join(f"{name}={str(value).lower()}" for name, value in options.items())
        return f"{self.strategy}-{REVISION[self.strategy]}:{words}"


class StructureSpec(_Options):
    """Along headings, paragraphs, tables, lists and code; a chunk holds no text of two sections."""

    strategy: Literal["structure"] = "structure"
    table_header: bool = Field(True, description="embed the header of a table with each of its chunks")
    parent_tokens: Tokens = Field(PARENT_TOKENS, description="longest parent, of whole chunks of one section")


ChunkerSpec = StructureSpec
_ADAPTER: TypeAdapter[ChunkerSpec] = TypeAdapter(ChunkerSpec)


def read_spec(options: Any) -> ChunkerSpec:
    """The spec from its JSON, as a collection's row keeps it."""
    return _ADAPTER.validate_python(options)


def default_spec(settings: IngestSettings, embedder: Embedder) -> ChunkerSpec:
    """How a new collection is cut for which nothing was chosen; the size is bounded by what the embedder reads."""
    return StructureSpec(tokens=min(settings.chunk_tokens, embedder.max_tokens))


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
