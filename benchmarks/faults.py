"""``kill -9`` of the worker at random points of an ingestion, again and again; and what is there afterwards.

    python -m benchmarks.faults
    python -m benchmarks.faults --documents 200 --kills 50 --seed 7

The same documents are ingested twice by worker processes (see `benchmarks.nursery`) on PostgreSQL and Qdrant Edge:
once undisturbed, and once with a worker that is killed and started again. Nothing may tell the two results apart.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from app.postgres import run_postgres
from benchmarks.nursery import Nursery, open_nursery
from benchmarks.report import Report, circumstances, parser, publish, temporary_folder
from core.database import Pool, open_pool
from core.domain import DocumentId, Scope, TenantId
from core.settings import Settings
from ingest.blobs import open_blobs
from ingest.chunking.spec import default_spec
from ingest.collection import Collections
from ingest.document import Documents, Upload
from ingest.indexes import open_indexes
from ingest.intake import File, Intake
from ingest.jobs import Jobs
from ingest.schema import prepare_write_path
from ingest.tasks import create_job_app
from models.embedder import open_embedder
from models.embedders import stamp_of
from models.lexical import LexicalEncoder
from tools.search import Search, SearchOptions
from tools.shelves import OneShelf

SETTLE_S = 300.0
AT_WORK_S = 60.0
STARTING_SHARE = 0.15
"""The share of the kills that come while the worker is still starting."""
SHARE_OF_WORK = 1.6
"""The others come when it has done up to so many times its share of the documents …"""
WITHIN_S = 0.5
"""… and up to so many seconds later, to hit any point of the next one."""


@dataclass(kw_only=True)
class Findings:
    """What was found afterwards; all but ``documents`` and ``kills`` and what is about them must be empty or 0."""

    documents: int
    kills: int
    kills_at_work: int
    attempts: int
    seconds: float
    indexed: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    unsettled: int = 0
    wrong_chunks: list[str] = field(default_factory=list)
    missing_points: int = 0
    orphan_points: int = 0
    duplicate_points: int = 0
    stuck_jobs: int = 0
    not_found: list[str] = field(default_factory=list)

    @property
    def faultless(self) -> bool:
        """Whether every document is there as if nothing had happened."""
        counts = (self.unsettled, self.missing_points, self.orphan_points, self.duplicate_points, self.stuck_jobs)
        # Small texts that nothing is wrong with: none of them has a reason to fail.
        return self.indexed == self.documents and not any(counts) and not self.wrong_chunks and not self.not_found


@dataclass(frozen=True, kw_only=True)
class Site:
    """A place with a database and an index of its own, and the worker's log."""

    settings: Settings
    env: dict[str, str]

    @property
    def log(self) -> Path:
        """What the workers have said."""
        return self.settings.data_dir / "worker.log"

    def start_worker(self, nursery: Nursery) -> psutil.Process:
        """A worker process."""
        return nursery.start(self.env, self.log)


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill, look, print; 1 when something was lost, doubled or left over."""
    where = circumstances("faults", arguments)
    made = parser("faults", "kill -9 of the worker at random points of an ingestion")
    made.add_argument("--documents", type=int, default=200)
    made.add_argument("--kills", type=int, default=50)
    made.add_argument("--seed", type=int, default=random.randrange(10_000))
    options = made.parse_args(arguments)
    print(f"seed {options.seed}", flush=True)
    with temporary_folder() as folder, open_nursery() as nursery:
        found = asyncio.run(run(folder, nursery, documents=options.documents, kills=options.kills, seed=options.seed))
    publish([report(found, options.seed)], where, options)
    return 0 if found.faultless else 1


async def run(folder: Path, nursery: Nursery, *, documents: int, kills: int, seed: int, **env: str) -> Findings:
    """Ingest twice below ``folder``, and compare; ``env`` are further settings of the worker."""
    files = make_files(documents)
    clean, _ = await ingest(nursery, folder / "clean", files, env)
    expected = {name: chunks for name, (_, chunks) in clean.items()}
    torment = Torment(documents, kills, random.Random(seed))
    _, found = await ingest(nursery, folder / "killed", files, env, expected=expected, torment=torment)
    return found


def make_files(number: int) -> dict[str, str]:
    """Small documents of some chunks each; each has a word that no other has."""
    chance = random.Random(3)
    things = "harbour lamp keel rope mast tide crew cargo anchor storm ledger pilot island signal timber".split()

    def sentence(word: str) -> str:
        first, second = chance.sample(things, 2)
        return f"The {first} of {word} lies {chance.randrange(2, 900)} paces from the {second} of the year."

    files = {}
    for place in range(number):
        word = f"vessel{place:04}q"
        sections = [
            f"## Part {part}\n\n" + " ".join(sentence(word) for _ in range(chance.randrange(4, 14)))
            for part in range(chance.randrange(2, 5))
        ]
        files[f"{word}.md"] = f"# Of {word}\n\n" + "\n\n".join(sections) + "\n"
    return files


async def ingest(
    nursery: Nursery,
    folder: Path,
    files: dict[str, str],
    env: dict[str, str],
    *,
    expected: dict[str, int] | None = None,
    torment: Torment | None = None,
) -> tuple[dict[str, tuple[str, int]], Findings]:
    """Take the files in, let a worker do its work while it is killed, and look at what is there."""
    folder.mkdir(mode=0o711)
    with run_postgres(folder) as url:
        told = {"DATABASE__URL": url, "DATA_DIR": str(folder), **env}
        site = Site(settings=settings_of(told), env=told)
        async with open_pool(site.settings.database) as pool:
            await prepare_write_path(pool)
            tenant = await take_in(site, pool, files)
            started = time.monotonic()
            at_work = await torment.carry_out(site, pool, nursery) if torment else 0
            worker = site.start_worker(nursery)
            try:
                await settled(site, pool, worker)
                worker.terminate()
                await asyncio.to_thread(worker.wait, 60)
            finally:
                end(worker)
            found = Findings(
                documents=len(files),
                kills=torment.kills if torment else 0,
                kills_at_work=at_work,
                attempts=await takeovers(site),
                seconds=time.monotonic() - started,
            )
            states = await look(site, pool, tenant, found, expected)
        return states, found


def settings_of(told: dict[str, str]) -> Settings:
    """The settings that the environment of a worker means."""
    sections: dict[str, dict[str, str]] = {}
    for name, value in told.items():
        section, mark, key = name.lower().partition("__")
        if mark:
            sections.setdefault(section, {})[key] = value
    return Settings(_env_file=None, data_dir=Path(told["DATA_DIR"]), **sections)  # type: ignore[arg-type]


async def take_in(site: Site, pool: Pool, files: dict[str, str]) -> TenantId:
    """Put the files where uploads put them, with their jobs."""
    async with pool.connection() as connection:
        cursor = await connection.execute("INSERT INTO tenants (name) VALUES ('faults') RETURNING id")
        row = await cursor.fetchone()
    assert row is not None
    tenant = TenantId(row["id"])
    app = create_job_app()
    async with open_embedder(site.settings.embedding) as embedder, app.open_async(pool):
        collections = Collections(pool, embedder, default_spec(site.settings.ingest, embedder))
        collection = await collections.get(tenant, "default")
        intake = Intake(pool, Documents(pool), open_blobs(site.settings), Jobs(app))
        received = [
            File(
                Upload(
                    name=name,
                    media_type="text/markdown",
                    size=len(text.encode()),
                    sha256=hashlib.sha256(text.encode()).hexdigest(),
                    metadata={},
                ),
                io.BytesIO(text.encode()),
            )
            for name, text in files.items()
        ]
        await intake.take(tenant, collection.id, received)
    return tenant


@dataclass(frozen=True)
class Torment:
    """How often a worker is killed, and the chance that decides when."""

    documents: int
    kills: int
    chance: random.Random

    async def carry_out(self, site: Site, pool: Pool, nursery: Nursery) -> int:
        """Start the worker and kill it, again and again; how often jobs were running at that moment."""
        at_work = 0
        for number in range(self.kills):
            before = await running(pool)
            worker = site.start_worker(nursery)
            try:
                if self.chance.random() < STARTING_SHARE:
                    await asyncio.sleep(self.chance.random() * 4)
                else:
                    most = round(SHARE_OF_WORK * self.documents / self.kills)
                    await done_some(pool, worker, before, self.chance.randint(0, most))
                    await asyncio.sleep(self.chance.random() * WITHIN_S)
                at_work += bool(await running(pool) - before)
            finally:
                end(worker)
            print(f"kill {number + 1}: {at_work} while jobs ran, {await left(pool)} documents left", flush=True)
        return at_work


def end(worker: psutil.Process) -> None:
    """`kill -9`, and nothing before it."""
    with suppress(psutil.NoSuchProcess):
        worker.kill()
        worker.wait(30)


async def done_some(pool: Pool, worker: psutil.Process, before: set[tuple[int, int]], number: int) -> None:
    """Wait until the worker has taken a job and done ``number`` documents; not for ever, in case few are left."""
    deadline = time.monotonic() + AT_WORK_S
    start = await left(pool)
    while start - await left(pool) < number or not await running(pool) - before:
        if not alive(worker):
            raise RuntimeError("The worker ended by itself; its log says why.")
        if time.monotonic() > deadline or not await left(pool):
            return
        await asyncio.sleep(0.02)


def alive(worker: psutil.Process) -> bool:
    """Whether the process runs."""
    return worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE


async def running(pool: Pool) -> set[tuple[int, int]]:
    """The running jobs, each with the worker that runs it."""
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT id, worker_id FROM procrastinate_jobs WHERE status = 'doing'")
        return {(row["id"], row["worker_id"]) for row in await cursor.fetchall()}


async def left(pool: Pool) -> int:
    """How many documents are still on their way."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT count(*) AS n FROM documents WHERE status NOT IN ('indexed', 'failed')"
        )
        row: Any = await cursor.fetchone()
        return int(row["n"])


async def settled(site: Site, pool: Pool, worker: psutil.Process) -> None:
    """Wait until nothing is on its way and no job is left.

    Raises:
        RuntimeError: that takes too long, or the worker ended.
    """
    deadline = time.monotonic() + SETTLE_S
    while await left(pool) or await unfinished_jobs(pool):
        if not alive(worker) or time.monotonic() > deadline:
            raise RuntimeError("The documents do not settle:\n" + site.log.read_text("utf-8")[-4000:])
        await asyncio.sleep(0.2)


async def unfinished_jobs(pool: Pool) -> int:
    """Jobs that wait or run."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT count(*) AS n FROM procrastinate_jobs WHERE status IN ('todo', 'doing') AND args ? 'document'"
        )
        row: Any = await cursor.fetchone()
        return int(row["n"])


async def takeovers(site: Site) -> int:
    """How many jobs were taken over from dead workers."""
    return site.log.read_text("utf-8").count("is taken over") if site.log.exists() else 0


async def look(
    site: Site, pool: Pool, tenant: TenantId, found: Findings, expected: dict[str, int] | None
) -> dict[str, tuple[str, int]]:
    """Compare PostgreSQL, the index and what was expected; the status and chunks of each document by name."""
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT id, name, status, error FROM documents")
        documents = await cursor.fetchall()
        cursor = await connection.execute("SELECT document_id, id FROM chunks")
        chunks = [(row["document_id"], row["id"]) for row in await cursor.fetchall()]
    counts = Counter(document for document, _ in chunks)
    found.stuck_jobs = await unfinished_jobs(pool)
    for row in documents:
        found.indexed += row["status"] == "indexed"
        found.unsettled += row["status"] not in ("indexed", "failed")
        if row["status"] == "failed":
            found.failed[row["name"]] = row["error"] or ""
        if expected is not None and counts[row["id"]] != expected[row["name"]]:
            found.wrong_chunks.append(row["name"])
    async with search_over(site, pool) as (index, search):
        points = [point.id async for page in index.scan(None) for point in page]
        rows = {chunk for _, chunk in chunks}
        found.duplicate_points = len(points) - len(set(points))
        found.orphan_points = len(set(points) - rows)
        found.missing_points = len(rows - set(points))
        for row in documents:
            if row["status"] == "indexed" and not await finds(search, tenant, row["id"], row["name"]):
                found.not_found.append(row["name"])
    return {row["name"]: (row["status"], counts[row["id"]]) for row in documents}


@asynccontextmanager
async def search_over(site: Site, pool: Pool) -> AsyncIterator[tuple[Any, Search]]:
    """The index that the worker has left, and a search over it."""
    async with (
        open_embedder(site.settings.embedding) as embedder,
        open_indexes(site.settings, pool) as indexes,
    ):
        index = await indexes.open(stamp_of(embedder))
        yield index, Search(pool, OneShelf(embedder, index), LexicalEncoder(), candidates=50)


async def finds(search: Search, tenant: TenantId, document: DocumentId, name: str) -> bool:
    """Whether a search for the document's own word finds it, and only it."""
    word = name.removesuffix(".md")
    result = await search(word, scope=Scope(tenant=tenant), limit=5, options=SearchOptions(mode="lexical"))
    return bool(result.hits) and {hit.chunk.document for hit in result.hits} == {document}


def report(found: Findings, seed: int) -> Report:
    """The table."""
    rows = [
        ["documents indexed", str(found.indexed)],
        ["documents failed", str(len(found.failed))],
        ["documents with other chunks than in a clean run", str(len(found.wrong_chunks))],
        ["chunks without a point", str(found.missing_points)],
        ["points without a chunk", str(found.orphan_points)],
        ["points that are there twice", str(found.duplicate_points)],
        ["jobs that are stuck", str(found.stuck_jobs)],
        ["documents that a search for their own word does not find", str(len(found.not_found))],
    ]
    note = (
        f"{found.documents} documents, {found.kills} times `kill -9` (seed {seed}), {found.kills_at_work} of "
        f"them while jobs ran; {found.attempts} jobs were taken over; {found.seconds:.0f} s."
    )
    reasons = sorted({f"Failed: {reason or 'without a reason'}" for reason in found.failed.values()})
    return Report(
        section="faults",
        header=["afterwards", "count"],
        rows=rows,
        notes=[note, *reasons],
        figures=asdict(found) | {"seed": seed},
    )


if __name__ == "__main__":
    sys.exit(main())
