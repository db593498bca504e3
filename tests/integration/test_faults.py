"""``kill -9`` of processes; `python -m benchmarks.faults` and `benchmarks.run_faults` do the same at length."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import run_faults
from benchmarks.faults import run, settings_of
from benchmarks.nursery import Nursery, open_nursery
from benchmarks.report import ROOT
from core.database import open_pool
from ingest.indexes import open_indexes
from models.embedder import open_embedder
from models.embedders import stamp_of


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("faults")
    made.chmod(0o711)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with open_nursery() as nursery:
        yield nursery


@pytest.mark.timeout(600)
async def test_runs_whose_processes_are_killed_end_once_with_every_effect_at_most_once(
    folder: Path, nursery: Nursery
) -> None:
    torment = run_faults.Torment(kills=5, restarts=1, readers=4, steps=(2, 4), seed=4, roles=("both", "both"))
    found = await run_faults.run(folder, nursery, torment)
    assert found.faultless, found
    assert found.effects >= found.steps - found.unknown > 0
    assert found.kills_at_work >= 3, "the kills must come while runs are active"


@pytest.mark.timeout(600)
async def test_a_worker_that_is_killed_at_random_points_loses_and_doubles_nothing(
    folder: Path, nursery: Nursery
) -> None:
    found = await run(folder, nursery, documents=16, kills=3, seed=11)
    assert found.faultless, found
    assert found.indexed == 16
    assert found.kills_at_work >= 1, "the kills must come while there is work to lose"


async def test_a_second_process_on_the_embedded_index_is_told_what_to_do(postgres: str, tmp_path: Path) -> None:
    told = {"DATABASE__URL": postgres, "DATA_DIR": str(tmp_path)}
    settings = settings_of(told)
    async with (
        open_pool(settings.database) as pool,
        open_embedder(settings.embedding) as embedder,
        open_indexes(settings, pool) as indexes,
    ):
        await indexes.open(stamp_of(embedder))
        worker = await asyncio.create_subprocess_exec(
            *[sys.executable, "-m", "ingest", "worker"],
            cwd=ROOT,
            env={**os.environ, **told},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await worker.communicate()
    assert worker.returncode == 1
    assert "Another process has the vector index" in said.decode()
    assert "QDRANT__URL" in said.decode()
