from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from core.domain import ChunkId, CollectionId, DocumentId, Scope, TenantId
from core.engines.edge import index as edge
from core.engines.edge.index import EdgeIndex, open_edge_index
from core.engines.edge.shard import CURRENT
from core.errors import InvalidInput, Unavailable
from core.index import IndexQuery, Point, SparseVector

DIMENSION = 16
TENANT = TenantId(uuid.UUID(int=1))
SCOPE = Scope(tenant=TENANT)
ROOT = Path(__file__).parents[2]


def document(n: int) -> DocumentId:
    return DocumentId(uuid.UUID(int=1000 + n))


def points(start: int, stop: int, *, generation: int = 1) -> list[Point]:
    """Fifty points to a document."""
    made = []
    for n in range(start, stop):
        vector = np.random.default_rng(n).standard_normal(DIMENSION, dtype=np.float32)
        made.append(
            Point(
                id=ChunkId(uuid.UUID(int=n + 1)),
                tenant=TENANT,
                collection=CollectionId(uuid.UUID(int=2)),
                document=document(n // 50),
                generation=generation,
                dense=np.asarray(vector / np.linalg.norm(vector), dtype=np.float32),
                lexical=SparseVector([n % 7, 100 + n], [1.0, 1.0]),
            )
        )
    return made


async def state(index: EdgeIndex) -> tuple[int, dict[ChunkId, float], dict[ChunkId, float]]:
    """What a search for everything finds."""
    asked = IndexQuery(dense=points(0, 1)[0].dense, lexical=SparseVector(list(range(7)), [1.0] * 7), limit=10_000)
    found = await index.query(asked, scope=SCOPE)
    return await index.count(SCOPE), dict(found.dense), dict(found.lexical)


def shards(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir() if entry.is_dir())


def live_shard(path: Path) -> str:
    return str(json.loads((path / CURRENT).read_text("utf-8"))["shard"])


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


async def until_copying(path: Path) -> None:
    await until(lambda: len(shards(path)) > 1)


async def test_deletions_alone_make_the_index_optimise_itself(tmp_path: Path) -> None:
    async with open_edge_index(tmp_path, dimension=DIMENSION) as index:
        await index.upsert(points(0, 2000))
        await index.optimise()
        before = live_shard(tmp_path)
        await index.delete(TENANT, document(0))
        assert not index._has_grown()
        for n in range(1, 30):
            await index.delete(TENANT, document(n))
        await until(lambda: live_shard(tmp_path) != before)
        assert (await state(index))[0] == 500
        # Two vectors of each point that was there when the half of them was gone, and at first four thousand.
        assert index._live.engine.info().indexed_vectors_count <= 2 * 1000
        assert not index._has_grown()


async def test_an_optimised_index_finds_the_same(tmp_path: Path) -> None:
    async with open_edge_index(tmp_path, dimension=DIMENSION) as index:
        await index.upsert(points(0, 600))
        await index.upsert(points(0, 50, generation=2))
        await index.delete(TENANT, document(3))
        before, shard = await state(index), live_shard(tmp_path)
        assert await index.optimise()
        assert live_shard(tmp_path) != shard
        assert shards(tmp_path) == [live_shard(tmp_path)]
        after = await state(index)
        assert not await index.optimise()
    async with open_edge_index(tmp_path, dimension=DIMENSION) as index:
        reopened = await state(index)
    for found in (after, reopened):
        assert found[0] == before[0] == 550
        assert found[1] == pytest.approx(before[1], abs=1e-5)
        assert found[2] == pytest.approx(before[2], abs=1e-4)


async def test_what_is_written_during_an_optimisation_is_kept(tmp_path: Path) -> None:
    async with open_edge_index(tmp_path, dimension=DIMENSION) as index:
        await index.upsert(points(0, 300))
        shard = live_shard(tmp_path)
        optimisation = asyncio.create_task(index.optimise())
        await until_copying(tmp_path)
        await index.delete(TENANT, document(0))
        written = 0
        while not optimisation.done():
            await index.upsert(points(300 + written, 310 + written))
            written += 10
            assert await index.count(SCOPE) == 250 + written
        assert await optimisation
        assert written, "the optimisation ended before anything was written"
        assert live_shard(tmp_path) != shard
        assert await index.count(SCOPE) == 250 + written
        assert await index.count(SCOPE, document(0)) == 0
        before = await state(index)
    async with open_edge_index(tmp_path, dimension=DIMENSION) as index:
        assert await state(index) == before


async def test_growth_starts_an_optimisation(tmp_path: Path) -> None:
    async with open_edge_index(tmp_path, dimension=DIMENSION, optimise_after=200) as index:
        shard = live_shard(tmp_path)
        await index.upsert(points(0, 199))
        await asyncio.sleep(0.2)
        assert shards(tmp_path) == [shard]
        await index.upsert(points(199, 250))
        await until(lambda: live_shard(tmp_path) != shard and len(shards(tmp_path)) == 1)
        assert await index.count(SCOPE) == 250


async def test_growth_is_remembered_over_a_restart(tmp_path: Path) -> None:
    async with open_edge_index(tmp_path, dimension=DIMENSION) as index:
        await index.upsert(points(0, 300))
        assert await index.optimise()
        # Replaced points must be indexed anew as well.
        await index.upsert(points(0, 250, generation=2))
    shard = live_shard(tmp_path)
    async with open_edge_index(tmp_path, dimension=DIMENSION, optimise_after=250) as index:
        await until(lambda: live_shard(tmp_path) != shard)
        assert await index.count(SCOPE) == 300


async def test_a_failed_optimisation_leaves_the_index_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_edge_index(tmp_path, dimension=DIMENSION) as index:
        await index.upsert(points(0, 300))
        before, shard = await state(index), live_shard(tmp_path)
        with monkeypatch.context() as broken:
            broken.setattr(sys, "executable", "/bin/false")
            with pytest.raises(Unavailable, match="status 1"):
                await index.optimise()
        assert (live_shard(tmp_path), shards(tmp_path)) == (shard, [shard])
        assert await state(index) == before
        await index.upsert(points(300, 310))
        assert await index.optimise()
        assert await index.count(SCOPE) == 310


async def test_a_failure_in_the_background_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "RETRY_S", 0.05)
    async with open_edge_index(tmp_path, dimension=DIMENSION, optimise_after=200) as index:
        shard = live_shard(tmp_path)
        with monkeypatch.context() as broken:
            broken.setattr(sys, "executable", "/bin/false")
            await index.upsert(points(0, 250))
            await until_copying(tmp_path)
            await until(lambda: len(shards(tmp_path)) == 1)
        await until(lambda: live_shard(tmp_path) != shard)
        assert await index.count(SCOPE) == 250


async def test_a_cancelled_optimisation_loses_no_write(tmp_path: Path) -> None:
    async with open_edge_index(tmp_path, dimension=DIMENSION) as index:
        await index.upsert(points(0, 300))
        shard = live_shard(tmp_path)
        optimisation = asyncio.create_task(index.optimise())
        await until_copying(tmp_path)
        optimisation.cancel()
        with pytest.raises(asyncio.CancelledError):
            await optimisation
        await index.upsert(points(300, 320))
        assert (live_shard(tmp_path), shards(tmp_path)) == (shard, [shard])
        assert await index.count(SCOPE) == 320


async def test_reads_go_on_while_the_shard_is_replaced(tmp_path: Path) -> None:
    async with open_edge_index(tmp_path, dimension=DIMENSION) as index:
        await index.upsert(points(0, 300))
        optimisation = asyncio.create_task(index.optimise())
        answers = 0
        while not optimisation.done():
            counts = await asyncio.gather(*(index.count(SCOPE) for _ in range(8)))
            assert counts == [300] * 8
            answers += len(counts)
        assert await optimisation
        assert answers > 8


def run_child(body: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Run a program that has `index` open and may use this module's helpers."""
    program = f"""
import asyncio, os, signal, sys
from pathlib import Path
from tests.integration.test_edge_optimise import *
async def main(path):
    async with open_edge_index(path, dimension=DIMENSION) as index:
{textwrap.indent(textwrap.dedent(body), " " * 8)}
asyncio.run(main(Path(sys.argv[1])))
"""
    return subprocess.run(
        [sys.executable, "-c", program, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    ended = run_child(
        """
        await index.upsert(points(0, 500))
        await index.delete(TENANT, document(2))
        await index.upsert(points(0, 10, generation=2))
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        tmp_path,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    async with open_edge_index(tmp_path, dimension=DIMENSION) as index:
        assert await index.count(SCOPE) == 450
        assert await index.count(SCOPE, document(2)) == 0
        found = [key async for page in index.scan(SCOPE, document(0)) for key in page]
        assert sum(key.generation == 2 for key in found) == 10


async def test_a_kill_during_an_optimisation_leaves_the_old_shard_and_no_child(tmp_path: Path) -> None:
    ended = run_child(
        """
        await index.upsert(points(0, 300))
        asyncio.create_task(index.optimise())
        await until_copying(path)
        await index.upsert(points(300, 310))
        while not (children := Path(f"/proc/self/task/{os.getpid()}/children").read_text()):
            await asyncio.sleep(0.005)
        print(children, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        tmp_path,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    shard = live_shard(tmp_path)
    assert len(shards(tmp_path)) == 2
    await until(lambda: not any(is_running(int(child)) for child in ended.stdout.split()))
    async with open_edge_index(tmp_path, dimension=DIMENSION) as index:
        assert (live_shard(tmp_path), shards(tmp_path)) == (shard, [shard])
        assert await index.count(SCOPE) == 310
        assert await index.optimise()
        assert await index.count(SCOPE) == 310


def is_running(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text("utf-8")
    except FileNotFoundError:
        return False


async def test_a_second_opener_is_told_to_stop_the_first(tmp_path: Path) -> None:
    async with open_edge_index(tmp_path, dimension=DIMENSION) as index:
        await index.upsert(points(0, 10))
        with pytest.raises(Unavailable, match="stop it"):
            async with open_edge_index(tmp_path, dimension=DIMENSION):
                pass
        ended = run_child("pass", tmp_path)
        assert "Another process has the vector index" in ended.stderr
        assert await index.count(SCOPE) == 10


async def test_another_dimension_is_refused_with_both_named(tmp_path: Path) -> None:
    async with open_edge_index(tmp_path, dimension=DIMENSION) as index:
        await index.upsert(points(0, 10))
    with pytest.raises(InvalidInput, match=r"16 dimensions.*gives 32"):
        async with open_edge_index(tmp_path, dimension=32):
            pass
    async with open_edge_index(tmp_path, dimension=DIMENSION) as index:
        assert await index.count(SCOPE) == 10


@pytest.mark.parametrize("victim", ["CURRENT", "shard-*/edge_config.json", "shard-*/segments/*/segment.json"])
async def test_a_corrupt_folder_is_refused_and_left_alone(tmp_path: Path, victim: str) -> None:
    async with open_edge_index(tmp_path, dimension=DIMENSION) as index:
        await index.upsert(points(0, 10))
    before = shards(tmp_path)
    victims: Sequence[Path] = list(tmp_path.glob(victim))
    assert victims
    for file in victims:
        file.write_bytes(b"garbage")
    with pytest.raises(Unavailable, match="index the documents again"):
        async with open_edge_index(tmp_path, dimension=DIMENSION):
            pass
    assert shards(tmp_path) == before


async def test_a_lost_pointer_to_the_only_shard_is_no_loss(tmp_path: Path) -> None:
    async with open_edge_index(tmp_path, dimension=DIMENSION) as index:
        await index.upsert(points(0, 10))
    (tmp_path / CURRENT).unlink()
    async with open_edge_index(tmp_path, dimension=DIMENSION) as index:
        assert await index.count(SCOPE) == 10


async def test_a_lost_pointer_among_several_shards_deletes_none(tmp_path: Path) -> None:
    async with open_edge_index(tmp_path, dimension=DIMENSION):
        pass
    (tmp_path / CURRENT).unlink()
    (tmp_path / "shard-000000000000").mkdir()
    before = shards(tmp_path)
    with pytest.raises(Unavailable, match="CURRENT"):
        async with open_edge_index(tmp_path, dimension=DIMENSION):
            pass
    assert shards(tmp_path) == before


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder", "utf-8")
    with pytest.raises(Unavailable, match="file"):
        async with open_edge_index(tmp_path / "file" / "index", dimension=DIMENSION):
            pass


async def test_a_closed_index_says_so(tmp_path: Path) -> None:
    async with open_edge_index(tmp_path, dimension=DIMENSION) as index:
        pass
    with pytest.raises(Unavailable, match="closed"):
        await index.count(SCOPE)
