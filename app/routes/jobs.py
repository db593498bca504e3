"""Jobs: those that wait, run, failed or were cancelled; retried and cleared by people. Collections: paused, resumed."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.auth import Caller, Using, Writer
from app.routes.collections import wire as wire_collection
from app.schemas import CollectionName, CollectionOut, JobKind, JobOut, JobPage, JobsRetried, JobState
from ingest.jobs import JobEntry, JobFilter, JobStatus
from ingest.pause import set_paused

router = APIRouter(tags=["jobs"])

MOST_RETRIED = 1000

State = Annotated[JobState | None, Query()]
Kind = Annotated[JobKind | None, Query()]


@router.get("/jobs")
async def list_jobs(
    principal: Caller,
    services: Using,
    status: State = None,
    kind: Kind = None,
    collection: CollectionName | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[int | None, Query(ge=1, description="id of the last job of the page before")] = None,
) -> JobPage:
    """The jobs that have not succeeded, newest first; ``failed`` and ``cancelled`` are those that wait for a person."""
    wanted = filter_of(status, kind, collection)
    jobs = await services.job_list.select(principal.tenant, wanted, before=cursor, limit=limit + 1)
    more = len(jobs) > limit
    jobs = jobs[:limit]
    return JobPage(jobs=[wire(job) for job in jobs], next_cursor=str(jobs[-1].id) if more else None)


@router.post("/jobs/retry", status_code=202)
async def retry_jobs(
    principal: Writer,
    services: Using,
    status: State = None,
    kind: Kind = None,
    collection: CollectionName | None = None,
) -> JobsRetried:
    """Try the failed and cancelled jobs again, or those of one status, kind or collection; at most 1,000 at once."""
    wanted = filter_of(status, kind, collection)
    return JobsRetried(retried=await services.job_list.retry_all(principal.tenant, wanted, limit=MOST_RETRIED))


@router.post("/jobs/{job_id}/retry", status_code=202)
async def retry_job(job_id: int, principal: Writer, services: Using) -> JobOut:
    """Try a failed or cancelled job again, with all its attempts; the answer is the job that was made of it."""
    return wire(await services.job_list.retry(principal.tenant, job_id))


@router.delete("/jobs/{job_id}", status_code=204)
async def clear_job(job_id: int, principal: Writer, services: Using) -> Response:
    """Clear a failed or cancelled ingestion from the list; its document stays, failed, with its reason."""
    await services.job_list.clear(principal.tenant, job_id)
    return Response(status_code=204)


@router.post("/collections/{name}/pause")
async def pause_collection(name: CollectionName, principal: Writer, services: Using) -> CollectionOut:
    """Let the ingestions of a collection wait; those that run go on to their end."""
    return await _set_paused(name, principal, services, paused=True)


@router.post("/collections/{name}/resume")
async def resume_collection(name: CollectionName, principal: Writer, services: Using) -> CollectionOut:
    """Let the ingestions of a paused collection go on."""
    return await _set_paused(name, principal, services, paused=False)


async def _set_paused(name: str, principal: Writer, services: Using, *, paused: bool) -> CollectionOut:
    collection = await services.collections.get(principal.tenant, name)
    await set_paused(services.pool, collection.id, paused=paused)
    return wire_collection(await services.collections.get(principal.tenant, name))


def filter_of(status: JobState | None, kind: JobKind | None, collection: str | None) -> JobFilter:
    """The filter that the query's parameters mean."""
    return JobFilter(status=JobStatus(status) if status else None, kind=kind, collection=collection)


def wire(job: JobEntry) -> JobOut:
    """A job as it goes over the wire."""
    names = JobOut.model_fields.keys() - {"document_id", "document_name"}
    return JobOut(document_id=job.document, document_name=job.name, **{name: getattr(job, name) for name in names})
