"""``kill -9`` of the API while a collection is made anew, and whether search answers all the while.

    python -m benchmarks.rebuild
    python -m benchmarks.rebuild --documents 60 --kills 3

One process has the API, the worker and the embedded index, as `make run` has them. It is killed when a part of the
documents is made anew with another chunker, and started again; whenever it answers, every document has to be found.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx

from app.keys import create_key
from app.postgres import run_postgres
from app.premises import free_port
from app.services import prepare_database
from benchmarks.faults import Findings, Site, look, make_files, settings_of
from benchmarks.report import ROOT, Report, circumstances, parser, publish, temporary_folder
from core.database import Pool, open_pool
from core.domain import Role, TenantId

START_S = 120.0
REBUILD_S = 300.0
PAUSE_S = 0.02
CHUNKER = {"strategy": "structure", "tokens": 40}


@dataclass(kw_only=True)
class Answers:
    """Searches that were asked from the beginning of the change to its end."""

    found: int = 0
    missed: int = 0
    away: int = 0


class Api:
    """`python -m app api` in a process of its own."""

    def __init__(self, told: dict[str, str], log: Path, http: httpx.AsyncClient) -> None:
        self._env = told
        self._log = log
        self._http = http
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "app", "api"]
            self._process = subprocess.Popen(  # noqa: ASYNC220 (returns at once)
                command, cwd=ROOT, env={**os.environ, **self._env}, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_S
        while not await self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("The API does not start:\n" + self._log.read_text("utf-8")[-4000:])
            await asyncio.sleep(0.1)

    async def _answers(self) -> bool:
        try:
            return (await self._http.get("/ok")).is_success
        except httpx.HTTPError:
            return False

    async def end(self, *, kill: bool) -> None:
        """`kill -9`, or SIGTERM; and wait until it is gone."""
        if self._process is not None:
            (self._process.kill if kill else self._process.terminate)()
            await asyncio.to_thread(self._process.wait, 60)


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill, look, print; 1 when something was lost, doubled, left over or not found meanwhile."""
    where = circumstances("rebuild", arguments)
    made = parser("rebuild", "kill -9 of the API while a collection is made anew")
    made.add_argument("--documents", type=int, default=60)
    made.add_argument("--kills", type=int, default=3)
    options = made.parse_args(arguments)
    with temporary_folder() as folder:
        found, answers = asyncio.run(run(folder, documents=options.documents, kills=options.kills))
    publish([report(found, answers)], where, options)
    return 0 if found.faultless and not answers.missed else 1


async def run(folder: Path, *, documents: int, kills: int) -> tuple[Findings, Answers]:
    """Take documents in below ``folder``, make their collection anew, and kill the process meanwhile."""
    files = make_files(documents)
    port = free_port()
    with run_postgres(folder) as url:
        told = {
            "DATABASE__URL": url,
            "DATA_DIR": str(folder),
            "API__PORT": str(port),
            # No question is asked of it.
            "CHAT__BASE_URL": f"http://127.0.0.1:{free_port()}/v1",
        }
        site = Site(settings=settings_of({name: told[name] for name in ("DATABASE__URL", "DATA_DIR")}), env=told)
        async with open_pool(site.settings.database) as pool:
            await prepare_database(pool)
            key = await create_key(pool, "rebuild", Role.ADMINISTRATOR)
            async with _client(port, key) as http:
                api = Api(told, site.log, http)
                await api.start()
                try:
                    await _take_in(http, files)
                    started = time.monotonic()
                    answers, at_work = await _torment(api, http, list(files), kills)
                    seconds = time.monotonic() - started
                finally:
                    await api.end(kill=False)
            found = Findings(
                documents=documents,
                kills=kills,
                kills_at_work=at_work,
                attempts=site.log.read_text("utf-8").count("is taken over"),
                seconds=seconds,
            )
            await look(site, pool, await _tenant(pool), found, None)
        return found, answers


@asynccontextmanager
async def _client(port: int, key: str) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30) as http:
        yield http


async def _take_in(http: httpx.AsyncClient, files: dict[str, str]) -> None:
    response = await http.post("/documents", files=[("files", (name, text.encode())) for name, text in files.items()])
    response.raise_for_status()
    while len(await _listed(http, "indexed")) < len(files):
        if failed := await _listed(http, "failed"):
            raise RuntimeError(f"A document failed: {failed[0]['error']}")
        await asyncio.sleep(0.2)


async def _listed(http: httpx.AsyncClient, status: str) -> list[dict[str, Any]]:
    return list((await _get(http, f"/documents?status={status}&limit=200"))["documents"])


async def _get(http: httpx.AsyncClient, path: str) -> dict[str, Any]:
    """What the API answers, asked again while a busy machine has it say 503."""
    while (response := await http.get(path)).status_code == 503:  # noqa: ASYNC110 (another process)
        await asyncio.sleep(1)
    return dict(response.raise_for_status().json())


async def _torment(api: Api, http: httpx.AsyncClient, names: list[str], kills: int) -> tuple[Answers, int]:
    """Have the collection made anew, kill the process after each equal part; the answers, and the kills that met it."""
    answers, at_work = Answers(), 0
    (await http.post("/collections/default/reembed", json={"chunker": CHUNKER})).raise_for_status()
    asking = asyncio.create_task(_ask(http, names, answers))
    try:
        for number in range(1, kills + 1):
            at_work += await _until(http, number * len(names) // (kills + 1))
            await api.end(kill=True)
            await api.start()
        await _until(http, None)
    finally:
        asking.cancel()
    return answers, at_work


async def _until(http: httpx.AsyncClient, done: int | None) -> bool:
    """Wait until so many documents are made anew, or until all is done; whether it was still under way then."""
    deadline = time.monotonic() + REBUILD_S
    while time.monotonic() < deadline:
        rebuild = (await _get(http, "/collections/default"))["rebuild"]
        if rebuild["status"] == "failed":
            raise RuntimeError(rebuild["error"])
        if rebuild["status"] == "done" or (done is not None and rebuild["done"] >= done):
            return bool(rebuild["status"] == "running")
        await asyncio.sleep(0.02)
    raise RuntimeError("The collection is not made anew.")


async def _ask(http: httpx.AsyncClient, names: list[str], answers: Answers) -> None:
    """Search for one document after the other, each by its own word."""
    for name in cycle(names):
        body = {"query": name.removesuffix(".md"), "mode": "lexical", "limit": 5}
        try:
            response = await http.post("/search", json=body)
        except httpx.HTTPError:
            answers.away += 1
        else:
            hits = response.json()["hits"] if response.is_success else []
            if name in [hit["document_name"] for hit in hits]:
                answers.found += 1
            else:
                answers.missed += 1
        await asyncio.sleep(PAUSE_S)


async def _tenant(pool: Pool) -> TenantId:
    async with pool.connection() as connection:
        (row,) = await (await connection.execute("SELECT DISTINCT tenant_id FROM documents")).fetchall()
    return TenantId(row["tenant_id"])


def report(found: Findings, answers: Answers) -> Report:
    """The table."""
    rows = [
        ["documents indexed", str(found.indexed)],
        ["chunks without a point", str(found.missing_points)],
        ["points without a chunk", str(found.orphan_points)],
        ["points that are there twice", str(found.duplicate_points)],
        ["documents that a search for their own word does not find", str(len(found.not_found))],
        ["searches meanwhile that found their document", str(answers.found)],
        ["searches meanwhile that did not", str(answers.missed)],
        ["searches while no process was there", str(answers.away)],
    ]
    note = (
        f"{found.documents} documents, {found.kills} times `kill -9`, {found.kills_at_work} of them while it was "
        f"being made anew; {found.seconds:.0f} s, starts of the process included."
    )
    figures = asdict(found) | {"answers": asdict(answers)}
    return Report(section="rebuild", header=["afterwards", "count"], rows=rows, notes=[note], figures=figures)


if __name__ == "__main__":
    sys.exit(main())
