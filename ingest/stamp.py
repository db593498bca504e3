"""What the chunks and vectors of a collection were made with, and what is said when that is not what runs now."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg.rows import DictRow

from core.domain import EmbedderStamp
from core.errors import Conflict
from ingest.chunking.spec import ChunkerSpec, read_spec


@dataclass(frozen=True, slots=True)
class Stamp:
    """Embedder and chunker: equal bytes give equal chunks and vectors under equal stamps."""

    embedder: EmbedderStamp
    chunker: str

    @property
    def values(self) -> tuple[str, str, int, str]:
        """Of the columns embedder, embedder_revision, dimension and chunker."""
        return (*self.embedder, self.chunker)

    def __str__(self) -> str:
        return f"the embedder {self.embedder} and the chunker {self.chunker!r}"


@dataclass(frozen=True, slots=True)
class Making:
    """A stamp, and the options of its chunker, with which chunks can be made."""

    stamp: Stamp
    chunker: ChunkerSpec


class StampMismatch(Conflict):
    """A collection was made with another embedder or chunker than runs now."""

    code = "stamp-mismatch"
    title = "The collection was made with another embedder or chunker"


def stamp_of(row: DictRow) -> Stamp:
    """The stamp of a row with the columns embedder, embedder_revision, dimension and chunker."""
    return Stamp(embedder_of(row), row["chunker"])


def embedder_of(row: DictRow, prefix: str = "") -> EmbedderStamp:
    """The embedder of a row with the columns ``embedder``, ``embedder_revision`` and ``dimension``."""
    return EmbedderStamp(row[f"{prefix}embedder"], row[f"{prefix}embedder_revision"], row[f"{prefix}dimension"])


def making_of(row: DictRow) -> Making:
    """Stamp and options of a row that has those columns and ``chunker_options``."""
    return Making(stamp_of(row), read_spec(row["chunker_options"]))


def check_stamp(name: str, made: Making, running: EmbedderStamp) -> None:
    """Refuse to mix what two embedders or two chunkers have made.

    Raises:
        StampMismatch: with the command that makes the collection anew.
    """
    if made.stamp != (now := Stamp(running, made.chunker.stamp)):
        raise StampMismatch(
            f"Collection {name!r} was made with {made.stamp}, but Ragstone now runs {now}. {remedy(name)}"
        )


def remedy(name: str) -> str:
    """The sentence that says how to get out of a mismatch."""
    return (
        f"Run `python -m ingest reembed {quoted(name)}` to make it anew, during which search goes on, or set "
        "EMBEDDING__MODEL back."
    )


def quoted(name: str) -> str:
    """A name as a shell takes it."""
    import shlex

    return shlex.quote(name)
