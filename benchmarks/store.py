"""What the long-term store costs: an item put and read, and searches by meaning in namespaces of several sizes.

    python -m benchmarks.store

Vectors lie there already, drawn by lot: what a comparison costs does not depend on what they mean. Beside each search
by meaning, which pgvector carries out inside the database, stands what the same would cost without the extension: the
vectors fetched as half-precision bytes and compared in the process. Both with the embedding of the query.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from langgraph.store.base import GetOp, PutOp, SearchOp
from numpy.typing import NDArray

from app.postgres import run_postgres
from app.store.item import Items
from app.store.meaning import has_vectors, literal, prepare_vectors
from benchmarks.report import Report, circumstances, median, parser, publish, temporary_folder
from core.database import Pool, migrate, open_pool
from core.domain import TenantId
from core.sections import StoreSettings
from core.settings import DatabaseSettings, EmbeddingSettings
from models.embedder import Embedder, open_embedder
from models.embedders import stamp_of

SIZES = (100, 1_000, 10_000, 100_000)
REPEATS = 15
GROUP = 5_000
QUERY = "sailing boats"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    where = circumstances("store", arguments)
    options = _arguments(arguments)
    with temporary_folder() as folder, run_postgres(folder) as url:
        figures = asyncio.run(measure(url, [size for size in SIZES if size <= options.items]))
    publish([report(figures)], where, options)
    return 0


async def measure(url: str, sizes: Sequence[int]) -> dict[str, float]:
    """Median milliseconds of everything, by what it is."""
    async with (
        open_pool(DatabaseSettings.model_validate({"url": url})) as pool,
        open_embedder(EmbeddingSettings()) as embedder,
    ):
        await migrate(pool)
        await prepare_vectors(pool)
        items = Items(pool, embedder, StoreSettings(), vectors=await has_vectors(pool))
        tenant = await make_tenant(pool)
        rng = np.random.default_rng(7)
        for size in sizes:
            await fill(pool, tenant, size, str(stamp_of(embedder)), rng, embedder.dimension)
        async with pool.connection() as connection:
            await connection.execute("VACUUM ANALYZE store_items, store_vectors, plain_vectors")
        figures = await small(items, tenant)
        figures["embed"] = await timed(partial(embedder.embed_query, QUERY))
        for size in sizes:
            search = SearchOp((f"s{size}",), query=QUERY, refresh_ttl=False)
            figures[f"search {size}"] = await timed(partial(items.carry_out, tenant, [search]))
            figures[f"plain {size}"] = await timed(partial(compare_here, pool, size, embedder))
        return figures


async def small(items: Items, tenant: TenantId) -> dict[str, float]:
    """What one item costs."""
    value = {"text": "Her brother builds sailing boats in a shed by the harbour."}
    return {
        "put": await timed(lambda: items.carry_out(tenant, [PutOp(("one",), "k", value)])),
        "put unindexed": await timed(lambda: items.carry_out(tenant, [PutOp(("one",), "u", value, index=False)])),
        "get": await timed(lambda: items.carry_out(tenant, [GetOp(("one",), "k")])),
    }


async def timed(act: Callable[[], Awaitable[Any]]) -> float:
    """The median time of an act, in milliseconds, after one that does not count."""
    await act()
    spent = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        await act()
        spent.append(1000 * (time.perf_counter() - start))
    return median(spent)


async def make_tenant(pool: Pool) -> TenantId:
    """A tenant, and the table of the comparison without pgvector."""
    tenant = TenantId(uuid.uuid4())
    async with pool.connection() as connection:
        await connection.execute("INSERT INTO tenants (id, name) VALUES (%s, 'bench')", (tenant,))
        await connection.execute("CREATE TABLE plain_vectors (size int, embedding bytea)")
        await connection.execute("CREATE INDEX ON plain_vectors (size)")
    return tenant


async def fill(pool: Pool, tenant: TenantId, size: int, stamp: str, rng: np.random.Generator, dimension: int) -> None:
    """A namespace of ``size`` items, and the same vectors as bytes."""
    for first in range(0, size, GROUP):
        count = min(GROUP, size - first)
        vectors = rng.standard_normal((count, dimension)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        async with pool.connection() as connection, connection.transaction():
            cursor = await connection.execute(
                "INSERT INTO store_items (tenant_id, namespace, key, value, fields) "
                "SELECT %s, ARRAY[%s], %s + number || '', '{}', '{$}' FROM generate_series(1, %s) number RETURNING id",
                (tenant, f"s{size}", first, count),
            )
            ids = [row["id"] for row in await cursor.fetchall()]
            async with connection.cursor() as writing:
                async with writing.copy("COPY store_vectors FROM STDIN") as copy:
                    for item, vector in zip(ids, vectors, strict=True):
                        await copy.write_row((item, 0, stamp, literal(vector)))
                async with writing.copy("COPY plain_vectors FROM STDIN") as copy:
                    for vector in vectors:
                        await copy.write_row((size, vector.astype("<f2").tobytes()))


async def compare_here(pool: Pool, size: int, embedder: Embedder) -> NDArray[np.intp]:
    """The ten nearest of a namespace, compared in this process."""
    query = await embedder.embed_query(QUERY)
    async with pool.connection() as connection, connection.cursor(binary=True) as cursor:
        await cursor.execute("SELECT embedding FROM plain_vectors WHERE size = %s", (size,))
        rows = await cursor.fetchall()
    matrix = np.frombuffer(b"".join(row["embedding"] for row in rows), "<f2").reshape(len(rows), -1)
    return np.argsort(-(matrix.astype(np.float32) @ query))[:10]


def report(figures: dict[str, float]) -> Report:
    """One row for each size, the single items below."""
    sizes = [size for size in SIZES if f"search {size}" in figures]
    rows = [
        [
            f"search by meaning, {size:,} items",
            f"**{figures[f'search {size}']:.1f}**",
            f"{figures[f'plain {size}']:.1f}",
        ]
        for size in sizes
    ]
    names = {
        "put": "put, found by its text",
        "put unindexed": "put, not to be found",
        "get": "get",
        "embed": "embed a query",
    }
    rows += [[said, f"{figures[name]:.1f}", ""] for name, said in names.items()]
    return Report(
        section="store",
        header=["", "ms, p50", "compared in the process, ms"],
        rows=rows,
        notes=[
            f"All namespaces lie in one store; {REPEATS} times each. A put that is found by its text embeds it first."
        ],
        figures=figures,
    )


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    made = parser("store", "The long-term store.")
    made.add_argument("--items", type=int, default=SIZES[-1], help="largest namespace, default: %(default)s")
    return made.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
