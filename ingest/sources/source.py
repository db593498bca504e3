"""The `Source` interface: what it offers, and one thing of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing that a source offers.

    ``id`` names it in all sources and for good: an address. ``path`` is where it lies below the source's root, with
    ``/`` between the parts; rules are matched against it. ``version`` changes whenever its bytes do; ``None`` when only
    fetching it tells. ``size`` is in bytes, when the source knows it.
    """

    id: str
    path: str
    version: str | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What was fetched: the name that the document gets, and the version to know it by the next time."""

    name: str
    version: str | None


class Source(Protocol):
    """A place that documents are taken from."""

    def discover(self) -> AsyncIterator[Item]:
        """What the source offers now.

        Raises:
            InvalidInput: its address cannot be read, today or tomorrow.
            Unavailable: it does not answer now.
        """
        ...

    async def fetch(self, item: Item, target: BinaryIO, *, known: str | None = None) -> Fetched | None:
        """Write the item's bytes to ``target``; ``None``, and nothing written, when it still is of version ``known``.

        Raises:
            NotFound: it is no longer there.
            InvalidInput: it must not or cannot be fetched, today or tomorrow.
            Unavailable: it cannot be fetched now.
        """
        ...
