"""Which places a source may name, and the source that is there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from core.domain import TenantId
from core.errors import Forbidden, InvalidInput
from core.settings import SourceSettings
from ingest.sources.address import Resolve, look_up, read_allowed
from ingest.sources.fetch import Limits, open_fetcher, read_url
from ingest.sources.folder import FolderSource
from ingest.sources.plan import Rules
from ingest.sources.prefix import open_prefix
from ingest.sources.row import SourceKind, SourceWish
from ingest.sources.sitemap import SitemapSource
from ingest.sources.source import Source
from ingest.sources.web import WebSource

WEB = (SourceKind.WEB, SourceKind.SITEMAP)


def check_place(wish: SourceWish, settings: SourceSettings, tenant: TenantId) -> str:
    """The address as it is kept.

    Raises:
        InvalidInput: it is none of its kind.
        Forbidden: the settings do not allow this place.
    """
    if wish.kind in WEB:
        return str(read_url(wish.address))
    if wish.kind is SourceKind.FOLDER:
        return str(_folder(wish.address, settings, tenant))
    return _prefix(wish.address, settings, tenant)


def rules_of(wish: SourceWish, settings: SourceSettings) -> Rules:
    """Which items of a source are wanted; only files can be hidden."""
    return Rules(
        include=wish.options.include,
        exclude=wish.options.exclude,
        max_bytes=settings.max_mb << 20,
        hidden=wish.kind in WEB,
    )


@asynccontextmanager
async def open_source(
    wish: SourceWish, settings: SourceSettings, tenant: TenantId, *, resolve: Resolve = look_up
) -> AsyncIterator[Source]:
    """The source at a place, which is checked again: the settings may have changed.

    Raises:
        InvalidInput: it is no address of its kind.
        Forbidden: the settings do not allow this place.
    """
    address, size = check_place(wish, settings, tenant), settings.max_mb << 20
    if wish.kind is SourceKind.FOLDER:
        # Below the address stands what the folder is called, not where links lead to.
        yield FolderSource(Path(address), Path(address).as_uri())
    elif wish.kind is SourceKind.PREFIX:
        yield open_prefix(address, max_bytes=size, timeout_s=settings.timeout_s)
    else:
        limits = Limits(size=size, time_s=settings.timeout_s)
        async with open_fetcher(limits, read_allowed(settings.allowed_hosts), resolve=resolve) as fetcher:
            if wish.kind is SourceKind.SITEMAP:
                other, most = wish.options.other_hosts, settings.max_items
                yield SitemapSource(fetcher, address, other_hosts=other, most=most)
            else:
                yield WebSource(fetcher, address)


def _folder(address: str, settings: SourceSettings, tenant: TenantId) -> Path:
    path = Path(address)
    if not path.is_absolute() or "\0" in address:
        raise InvalidInput(f"A folder of the server is named by its whole path, and not by {address!r}.")
    real = path.resolve()
    if not any(real.is_relative_to(Path(root).resolve()) for root in _listed(settings.folders, tenant)):
        raise Forbidden(f"{address!r} does not lie below a folder that SOURCES__FOLDERS allows.")
    return real


def _prefix(address: str, settings: SourceSettings, tenant: TenantId) -> str:
    scheme, mark, place = address.partition("://")
    parts = place.rstrip("/").split("/")
    if not mark or not scheme.isalnum() or "@" in parts[0] or {"", ".", ".."} & {*parts} or "?" in place:
        raise InvalidInput(f"{address!r} is no address such as s3://bucket/folder. It must not hold keys or '..'.")
    kept = f"{scheme.lower()}://{'/'.join(parts)}"
    for root in _listed(settings.prefixes, tenant):
        if f"{kept}/".startswith(f"{root.rstrip('/')}/"):
            return kept
    raise Forbidden(f"{address!r} does not lie below an address that SOURCES__PREFIXES allows.")


def _listed(text: str | None, tenant: TenantId) -> Iterator[str]:
    for part in (text or "").split(","):
        if part.strip():
            yield part.strip().replace("{tenant}", str(tenant))
