"""What the chunks and vectors of a collection were made with, and what is said when that is not what runs now."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg.rows import DictRow

from core.domain import EmbedderStamp
from core.errors import Conflict
from ingest.chunking.spec import ChunkerSpec, read_spec
from models.lexical import LEXICAL

COLUMNS = "embedder, embedder_revision, dimension, chunker, lexical"
"""The columns that hold a stamp."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """Embedder, chunker and lexical encoding: equal bytes give equal chunks and vectors under equal stamps."""

    embedder: EmbedderStamp
    chunker: str
    lexical: str = LEXICAL

    @property
    def values(self) -> tuple[str, str, int, str, str]:
        """Of the columns `COLUMNS`."""
        return (*self.embedder, self.chunker, self.lexical)

    def __str__(self) -> str:
        return f"the embedder {self.embedder}, the chunker {self.chunker!r} and the lexical encoding {self.lexical!r}"


@dataclass(frozen=True, slots=True)
class Making:
    """A stamp, and the options of its chunker, with which chunks can be made."""

    stamp: Stamp
    chunker: ChunkerSpec


class StampMismatch(Conflict):
    """A collection was made with another embedder, chunker or lexical encoding than runs now."""

    code = "stamp-mismatch"
    title = "The collection was made with another embedder, chunker or lexical encoding"


def stamp_of(row: DictRow) -> Stamp:
    """The stamp of a row with the columns `COLUMNS`."""
    return Stamp(embedder_of(row), row["chunker"], row["lexical"])


def embedder_of(row: DictRow, prefix: str = "") -> EmbedderStamp:
    """The embedder of a row with the columns ``embedder``, ``embedder_revision`` and ``dimension``."""
    return EmbedderStamp(row[f"{prefix}embedder"], row[f"{prefix}embedder_revision"], row[f"{prefix}dimension"])


def making_of(row: DictRow) -> Making:
    """Stamp and options of a row that has those columns and ``chunker_options``."""
    return Making(stamp_of(row), read_spec(row["chunker_options"]))


def check_stamp(name: str, made: Making, running: EmbedderStamp) -> None:
    """Refuse to mix what two embedders, chunkers or lexical encodings have made.

    Raises:
        StampMismatch: with the command that makes the collection anew.
    """
    if made.stamp != (now := Stamp(running, made.chunker.stamp)):
        raise StampMismatch(
            f"Collection {name!r} was made with {made.stamp}, but Ragstone now runs {now}. "
            f"{advice(name) if made.stamp.embedder == running else remedy(name)}"
        )


def remedy(name: str) -> str:
    """The sentence that says how to get out of a mismatch."""
    return f"{advice(name).removesuffix('.')}, or set EMBEDDING__MODEL back."


def advice(name: str) -> str:
    """The sentence that names the command which makes a collection anew."""
    return f"Run `python -m ingest reembed {quoted(name)}` to make it anew, during which search goes on."


def quoted(name: str) -> str:
    """A name as a shell takes it."""
    import shlex

    return shlex.quote(name)
