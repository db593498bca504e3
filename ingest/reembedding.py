"""``python -m ingest reembed``: asks for a collection to be made anew, and follows the worker that does it."""

from __future__ import annotations

import asyncio
import json
import sys

from pydantic import ValidationError
from tqdm import tqdm

from core.database import Pool, open_pool
from core.domain import CollectionId
from core.errors import Conflict, InvalidInput, NotFound
from core.settings import Settings
from ingest.jobs import Jobs
from ingest.rebuild import RebuildStatus, Wanted, ask_for_rebuild, find_rebuild
from ingest.tasks import create_job_app
from ingest.upkeep import measure

POLL_S = 0.5


def read_wanted(embedder: str | None, revision: str | None, chunker: str | None) -> Wanted:
    """What the arguments ask for.

    Raises:
        InvalidInput: the chunker is not a spec as JSON.
    """
    try:
        return Wanted.model_validate(
            {"embedder": embedder, "revision": revision, "chunker": json.loads(chunker) if chunker else None}
        )
    except (ValueError, ValidationError) as error:
        raise InvalidInput(f"--chunker takes a spec as JSON, as POST /collections does: {error}") from error


async def reembed(settings: Settings, name: str, tenant: str, wanted: Wanted) -> None:
    """Ask, and follow with a progress bar; what is interrupted here goes on at the worker.

    Raises:
        NotFound: the tenant has no such collection.
        Conflict: it cannot be made anew; the message says why.
    """
    async with open_pool(settings.database) as pool:
        collection = await _find(pool, name, tenant)
        app = create_job_app()
        async with app.open_async(pool):
            async with pool.connection() as connection, connection.transaction():
                if await ask_for_rebuild(connection, collection, name, wanted):
                    await Jobs(app).reembed(connection, collection)
            await _follow(pool, collection)


async def _find(pool: Pool, name: str, tenant: str) -> CollectionId:
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT c.id FROM collections c JOIN tenants t ON t.id = c.tenant_id WHERE c.name = %s AND t.name = %s",
            (name, tenant),
        )
        row = await cursor.fetchone()
    if row is None:
        raise NotFound(f"There is no collection {name!r} of the tenant {tenant!r}.")
    return CollectionId(row["id"])


async def _follow(pool: Pool, collection: CollectionId) -> None:
    if not (await measure(pool)).workers:
        print("No worker is alive: start `make run` or `python -m ingest worker`.", file=sys.stderr)  # noqa: T201
    with tqdm(unit=" documents") as bar:
        while (rebuild := await find_rebuild(pool, collection)) is not None:
            bar.total, bar.n = rebuild.total, rebuild.done
            bar.refresh()
            if rebuild.status is RebuildStatus.FAILED:
                raise Conflict(rebuild.error or "The collection could not be made anew.")
            if rebuild.status is RebuildStatus.DONE:
                return
            await asyncio.sleep(POLL_S)
