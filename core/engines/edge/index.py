"""The vector index in this process: Qdrant Edge in a folder, which a child process optimises.

To optimise means: copy the live shard, let a child process build the search graphs in the copy, apply to the copy
what was written meanwhile, and name it in ``CURRENT``. Until then the old shard is the truth, so a crash at any time
costs nothing; what it leaves behind is deleted at the next start.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np
import qdrant_edge as engine
from numpy.typing import NDArray

from core.domain import ChunkId, DocumentId, Scope, TenantId
from core.engines.edge.optimiser import optimise_in_child
from core.engines.edge.request import (
    PAGE,
    chosen,
    dense_vectors,
    key_of,
    matches,
    requests,
    upsertion,
    vectors_request,
    within,
)
from core.engines.edge.shard import (
    UNFINISHED,
    Shard,
    copy_file,
    load,
    name_current,
    open_live,
    owned,
    shard_name,
    sync,
    translated,
)
from core.errors import Unavailable
from core.index import DENSE, LEXICAL, IndexQuery, Point, PointKey, Ranking, check_dimension

LOGGER = logging.getLogger(__name__)
T = TypeVar("T")
Journal: TypeAlias = list[engine.UpdateOperation]

# An update holds the interpreter lock: about 10 ms for this many points.
SLICE = 128
# Up to here a full scan takes a few milliseconds.
OPTIMISE_AFTER = 20_000
# As many deleted points as there are others, but not for a few.
VACUUM_AFTER = 1000
RETRY_S = 300.0
READERS = 4


class EdgeIndex:
    """`core.index.VectorIndex` on Qdrant Edge; made by `open_edge_index`.

    One thread, the writer, makes every change to the live shard and replaces it; reads run beside it on their own
    threads.
    """

    def __init__(self, path: Path, live: Shard, *, dimension: int, optimise_after: int) -> None:
        self._path = path
        self._dimension = dimension
        self._optimise_after = optimise_after
        self._live = live
        # Protects `_live` and the counts of its readers.
        self._gate = threading.Condition()
        # What was written since the copy was made that is being optimised.
        self._journal: Journal | None = None
        self._writer = ThreadPoolExecutor(1, "index-write")
        self._readers = ThreadPoolExecutor(READERS, "index-read")
        self._optimiser = ThreadPoolExecutor(1, "index-optimise")
        # Protects the cycle of optimisation: one at a time.
        self._cycle = asyncio.Lock()
        self._grown = asyncio.Event()

    async def upsert(self, points: Sequence[Point]) -> None:
        """Store the points durably; a point whose id is there already is replaced.

        Raises:
            InvalidInput: when a vector has another dimension than the index.
            Unavailable: when the engine fails.
        """
        check_dimension((point.dense for point in points), self._dimension)
        slices = [points[start : start + SLICE] for start in range(0, len(points), SLICE)]
        await self._write([partial(upsertion, part) for part in slices])

    async def delete(
        self,
        tenant: TenantId,
        document: DocumentId,
        *,
        only: Collection[ChunkId] | None = None,
    ) -> None:
        """Delete a document's points: all, or the named ones."""
        doomed = chosen(tenant, document, only=only)
        await self._write([partial(engine.UpdateOperation.delete_points_by_filter, doomed)])

    async def query(self, query: IndexQuery, *, scope: Scope) -> Ranking:
        """The best points within the scope, on each side that the query has.

        Raises:
            InvalidInput: when the dense vector has another dimension than the index.
            Unavailable: when the engine fails.
        """
        if query.dense is not None:
            check_dimension([query.dense], self._dimension)
        if query.is_empty(scope):
            return Ranking()
        sides = requests(query, scope)
        batch = engine.QueryBatchRequest(list(sides.values()))
        answers = await self._read(lambda shard: shard.query_batch(batch))
        found = dict(zip(sides, map(matches, answers), strict=True))
        return Ranking(dense=found.get(DENSE, ()), lexical=found.get(LEXICAL, ()))

    async def vectors(self, chunks: Collection[ChunkId], *, scope: Scope) -> dict[ChunkId, NDArray[np.float32]]:
        """The dense vectors, each of shape (dimension,) and unit length, of those of the points within the scope.

        Raises:
            Unavailable: when the engine fails.
        """
        if not chunks or scope.collections == frozenset():
            return {}
        request = vectors_request(chunks, scope)
        records, _ = await self._read(lambda shard: shard.scroll(request))
        return dense_vectors(records)

    async def count(self, scope: Scope, document: DocumentId | None = None) -> int:
        """How many points the scope holds, exactly; of one document when it is given."""
        if scope.collections == frozenset():
            return 0
        request = engine.CountRequest(exact=True, filter=within(scope, None if document is None else [document]))
        return await self._read(lambda shard: shard.count(request))

    async def scan(self, scope: Scope | None, document: DocumentId | None = None) -> AsyncIterator[Sequence[PointKey]]:
        """Every point of the scope, of one document when it is given, page by page; ``None``: of the whole index."""
        if scope is not None and scope.collections == frozenset():
            return
        bounds = None if scope is None else within(scope, None if document is None else [document])
        start: engine.PointId | None = None
        while True:
            request = engine.ScrollRequest(offset=start, limit=PAGE, filter=bounds, with_payload=True)
            records, start = await self._read(partial(_scroll, request))
            yield [key_of(record) for record in records]
            if start is None:
                return

    async def optimise(self) -> bool:
        """Build the search graphs of what was written since the last time; reads and writes go on meanwhile.

        Returns:
            Whether there was anything to do.

        Raises:
            Unavailable: when it failed; the index is as it was.
        """
        async with self._cycle:
            if not await _run(self._writer, lambda: self._live.pending or self._live.deleted > 0):
                return False
            copy = self._path / f"{shard_name()}{UNFINISHED}"
            started = time.monotonic()
            try:
                journal = await _run(self._writer, partial(self._copy_live, copy))
                await optimise_in_child(copy, self._dimension)
                old = await _run(self._optimiser, partial(self._adopt, copy, journal))
            finally:
                await _run(self._writer, partial(self._end_copy, copy))
            await _run(self._optimiser, partial(self._retire, old))
            LOGGER.info("optimised the vector index in %.1f s", time.monotonic() - started)
            return True

    async def keep_optimised(self) -> None:
        """Optimise whenever enough was written, for ever; a failure is logged and tried again later."""
        while True:
            try:
                if not await _run(self._writer, self._has_grown):
                    await self._grown.wait()
                self._grown.clear()
                await self.optimise()
            except Exception:  # whatever went wrong once must not end the keeping
                LOGGER.exception("could not optimise the vector index, next try in %.0f s", RETRY_S)
                await asyncio.sleep(RETRY_S)

    async def close(self) -> None:
        """Finish what is being written and read, then close the shard."""
        for pool in (self._optimiser, self._writer, self._readers):
            await asyncio.to_thread(pool.shutdown)
        await asyncio.to_thread(self._live.engine.close)

    async def _read(self, ask: Callable[[engine.EdgeShard], T]) -> T:
        def read() -> T:
            with self._reading() as shard:
                return ask(shard.engine)

        return await _run(self._readers, read)

    @contextmanager
    def _reading(self) -> Iterator[Shard]:
        with self._gate:
            shard = self._live
            shard.readers += 1
        try:
            yield shard
        finally:
            with self._gate:
                shard.readers -= 1
                self._gate.notify_all()

    async def _write(self, makers: Sequence[Callable[[], engine.UpdateOperation]]) -> None:
        def write() -> bool:
            for make in makers:
                operation = make()
                self._live.engine.update(operation)
                journal = self._journal
                if journal is not None:
                    journal.append(operation)
            self._live.sync()
            return self._has_grown()

        if not makers:
            return
        grown = await _run(self._writer, write)
        if grown:
            self._grown.set()

    def _has_grown(self) -> bool:
        # A fifth, because each time the graph is built anew over all points.
        points = self._live.engine.info().points_count
        return (
            self._live.pending >= max(self._optimise_after, points // 5)
            # Mostly deleted ones, which nothing is written to any more perhaps.
            or self._live.deleted >= max(VACUUM_AFTER, points)
        )

    def _copy_live(self, copy: Path) -> Journal:
        """On the writer, so that the files stand still: they are what a killed process would leave."""
        shutil.copytree(self._live.path, copy, copy_function=copy_file)
        journal: Journal = []
        self._journal = journal
        return journal

    def _end_copy(self, copy: Path) -> None:
        """On the writer, so that a cancelled copy is complete before it is deleted."""
        self._journal = None
        shutil.rmtree(copy, ignore_errors=True)

    def _adopt(self, copy: Path, journal: Journal) -> Shard:
        """Make the optimised copy the live shard; gives the old one."""
        ready = copy.with_suffix("")
        copy.rename(ready)
        try:
            # Before the engine does it while it holds the interpreter lock.
            sync(ready, *ready.rglob("*"))
            shard = load(ready, self._dimension)
            shard.settled = shard.engine.info().indexed_vectors_count
            shard.kept = shard.deleted
            done = _catch_up(shard, journal, 0)
            return self._writer.submit(self._switch, shard, journal, done).result()
        except BaseException:  # whatever ends it, half a copy must not stay
            if self._live.path != ready:
                shutil.rmtree(ready, ignore_errors=True)
            raise

    def _switch(self, shard: Shard, journal: Journal, done: int) -> Shard:
        """On the writer, so that nothing is written between the last operation and the change."""
        if self._journal is not journal:
            raise Unavailable("The optimisation of the vector index was given up.")
        _catch_up(shard, journal, done)
        shard.sync()
        name_current(self._path, shard, self._dimension)
        with self._gate:
            old, self._live = self._live, shard
        sync(self._path)
        return old

    def _retire(self, old: Shard) -> None:
        with self._gate:
            self._gate.wait_for(lambda: old.readers == 0)
        sync(*old.path.rglob("*"))
        old.engine.close()
        shutil.rmtree(old.path, ignore_errors=True)


@asynccontextmanager
async def open_edge_index(
    path: Path, *, dimension: int, optimise_after: int = OPTIMISE_AFTER
) -> AsyncIterator[EdgeIndex]:
    """Open the index in the folder, which is made when it is missing, and keep it optimised.

    Args:
        path: the folder; one process at a time.
        dimension: length of the dense vectors.
        optimise_after: points written since the last optimisation that start the next one.

    Raises:
        InvalidInput: when the folder holds vectors of another dimension.
        Unavailable: when another process has it open, or its files cannot be read.
    """
    with owned(path):
        live = await asyncio.to_thread(open_live, path, dimension)
        index = EdgeIndex(path, live, dimension=dimension, optimise_after=optimise_after)
        keeper = asyncio.create_task(index.keep_optimised())
        try:
            yield index
        finally:
            keeper.cancel()
            with suppress(asyncio.CancelledError):
                await keeper
            await index.close()


def _catch_up(shard: Shard, journal: Journal, done: int) -> int:
    while done < len(journal):
        shard.engine.update(journal[done])
        done += 1
    return done


def _scroll(
    request: engine.ScrollRequest, shard: engine.EdgeShard
) -> tuple[list[engine.Record], engine.PointId | None]:
    return shard.scroll(request)


async def _run(pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    def guarded() -> T:
        with translated():
            return work()

    try:
        future = asyncio.get_running_loop().run_in_executor(pool, guarded)
    except RuntimeError as error:
        raise Unavailable("The vector index is closed, because the process is stopping.") from error
    return await future
