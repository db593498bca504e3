"""Sources: places that documents are taken from, again and again: web pages, sitemaps, folders, S3 prefixes."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from app.auth import Caller, Using, Writer
from app.cursor import read_moment, write_cursor
from app.schemas import FailureOut, PlanOut, SourceDetail, SourceIn, SourceList, SourceOut, StepOut
from core.domain import Principal, Role
from core.errors import Forbidden
from ingest.metadata import check_metadata
from ingest.sources.place import WEB, check_place
from ingest.sources.plan import Action, count
from ingest.sources.row import Failure, SourceEntry, SourceId, SourceKind, SourceOptions, SourceWish

router = APIRouter(tags=["sources"])

MOST_STEPS = 1000


@router.post("/sources", status_code=202)
async def add_source(body: SourceIn, principal: Writer, services: Using) -> SourceOut:
    """Take documents from a place, now and at each interval; the same address again changes what is wanted of it."""
    collection = await services.collections.get(principal.tenant, body.collection)
    wish = checked(body, principal, services)
    check_metadata(wish.metadata, collection.metadata_schema, collection.name)
    async with services.pool.connection() as connection, connection.transaction():
        source = await services.sources.put(connection, principal.tenant, collection.id, wish)
        await services.jobs.sync(connection, principal.tenant, source)
    return wire(await services.sources.get(principal.tenant, source))


@router.post("/sources/plan")
async def plan_source(body: SourceIn, principal: Writer, services: Using) -> PlanOut:
    """What a look at a place would do; nothing is fetched but lists, and nothing is stored."""
    await services.collections.get(principal.tenant, body.collection)
    wish = checked(body, principal, services)
    stored = await services.sources.stored(principal.tenant, body.collection, wish.address)
    steps = await services.syncer.preview(wish, principal.tenant, stored)
    named = [step for step in steps if step.action is not Action.UNCHANGED]
    return PlanOut(
        counts={action.value: number for action, number in count(steps).items()},
        steps=[
            StepOut(action=step.action.value, path=step.path, size=step.size, reason=step.reason)
            for step in named[:MOST_STEPS]
        ],
    )


@router.get("/sources")
async def list_sources(
    principal: Caller,
    services: Using,
    limit: Annotated[int, Query(ge=1, le=200)] = 100,
    cursor: str | None = None,
) -> SourceList:
    """The sources of the tenant, newest first."""
    before = read_moment(cursor) if cursor else None
    found = await services.sources.page(principal.tenant, before=before, limit=limit + 1)
    more = len(found) > limit
    found = found[:limit]
    return SourceList(
        sources=[wire(source) for source in found],
        next_cursor=write_cursor(found[-1].created_at, found[-1].id) if more else None,
    )


@router.get("/sources/{source_id}")
async def get_source(source_id: UUID, principal: Caller, services: Using) -> SourceDetail:
    """One source, and what could not be taken of it the last time."""
    source = await services.sources.get(principal.tenant, SourceId(source_id))
    failures = await services.sources.failures(principal.tenant, source.id)
    return SourceDetail(**wire(source).model_dump(), failures=[wire_failure(failure) for failure in failures])


@router.post("/sources/{source_id}/sync", status_code=202)
async def sync_source(source_id: UUID, principal: Writer, services: Using) -> SourceOut:
    """Look at a source now; one that waits or is being looked at already is left to it."""
    source = await services.sources.get(principal.tenant, SourceId(source_id))
    may_use(source.kind, principal)
    async with services.pool.connection() as connection, connection.transaction():
        await services.jobs.sync(connection, principal.tenant, source.id)
    return wire(await services.sources.get(principal.tenant, source.id))


@router.delete("/sources/{source_id}", status_code=204)
async def delete_source(
    source_id: UUID,
    principal: Writer,
    services: Using,
    documents: Annotated[bool, Query(description="also delete what came only from it")] = False,
) -> Response:
    """Take nothing from a place any more; its documents stay unless ``documents`` is true."""
    async with services.pool.connection() as connection, connection.transaction():
        orphans = await services.sources.delete(connection, principal.tenant, SourceId(source_id))
        for document in orphans if documents else ():
            await services.documents.start_deletion(connection, principal.tenant, document)
            await services.documents.attach_job(connection, document, await services.jobs.erase(connection, document))
    return Response(status_code=204)


def checked(body: SourceIn, principal: Principal, services: Using) -> SourceWish:
    """The source that is asked for, when its place is allowed for the principal.

    Raises:
        Forbidden: the principal's role, or the settings, do not allow it.
        InvalidInput: it is no address of its kind.
    """
    wish = SourceWish(
        kind=SourceKind(body.kind),
        address=body.address.strip(),
        options=SourceOptions(
            include=tuple(body.include),
            exclude=tuple(body.exclude),
            mirror=body.mirror,
            other_hosts=body.other_hosts,
        ),
        metadata=body.metadata,
        interval_s=body.interval_s,
    )
    may_use(wish.kind, principal)
    address = check_place(wish, services.settings.sources, principal.tenant)
    return SourceWish(
        kind=wish.kind, address=address, options=wish.options, metadata=wish.metadata, interval_s=wish.interval_s
    )


def may_use(kind: SourceKind, principal: Principal) -> None:
    """Refuse what reads with the server's own rights to all but administrators.

    Raises:
        Forbidden: the principal is none.
    """
    if kind not in WEB and principal.role is not Role.ADMINISTRATOR:
        raise Forbidden("Only an administrator's key may take documents from the server's folders and stores.")


def wire(source: SourceEntry) -> SourceOut:
    """A source as it goes over the wire."""
    options = source.options.model_dump()
    names = SourceOut.model_fields.keys() - {"collection", *options}
    return SourceOut(collection=source.collection_name, **options, **{name: getattr(source, name) for name in names})


def wire_failure(failure: Failure) -> FailureOut:
    """An item that could not be taken, as it goes over the wire."""
    return FailureOut(path=failure.path, error=failure.error)
