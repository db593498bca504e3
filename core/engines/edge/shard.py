"""The folder of an embedded index: one live shard, named by ``CURRENT``, and what an optimisation is building."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import qdrant_edge as engine

from core.errors import InvalidInput, PlatformError, Unavailable
from core.index import DENSE, LEXICAL

CURRENT = "CURRENT"
UNFINISHED = ".building"


@contextmanager
def translated() -> Iterator[None]:
    """The engine raises bare exceptions, and panics that are not even those."""
    try:
        yield
    except (PlatformError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of the engine is no `Exception`
        raise Unavailable(f"The vector index failed: {error}") from error


class Current(NamedTuple):
    """What ``CURRENT`` says, as JSON."""

    shard: str
    dimension: int
    settled: int


@dataclass(slots=True, eq=False)
class Shard:
    """An open shard. ``settled`` is the count of indexed vectors that it had when it went live.

    ``kept`` is how many deleted points it held then all the same, so that no one tries to remove them again and again.
    """

    engine: engine.EdgeShard
    path: Path
    settled: int
    kept: int = 0
    readers: int = 0

    @property
    def pending(self) -> int:
        """Points written since the shard went live, which a search scans one by one."""
        return self.engine.info().indexed_vectors_count - self.settled

    @property
    def deleted(self) -> int:
        """Deleted points, and replaced ones, that still take room and time.

        The engine counts them among the indexed vectors: two vectors of a point once it is optimised, one before.
        """
        return self.settled // 2 + self.pending - self.engine.info().points_count - self.kept

    def sync(self) -> None:
        """Make what was written survive a power cut; a killed process loses nothing even without it."""
        log = self.path / "wal"
        sync(log, *log.iterdir())


@contextmanager
def owned(path: Path) -> Iterator[None]:
    """Keep other processes out of the folder; two would delete each other's shards."""
    with translated():
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / "LOCK").open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Unavailable(
                f"Another process has the vector index in {str(path)!r} open: stop it, use another DATA_DIR, or set "
                "QDRANT__URL, so that several processes share a Qdrant server."
            ) from error
        yield


@translated()
def open_live(path: Path, dimension: int) -> Shard:
    """Open the live shard, made when there is none, and delete what a crash left behind."""
    for leftover in path.glob(f"*{UNFINISHED}"):
        shutil.rmtree(leftover, ignore_errors=True)
    current = _read_current(path, dimension)
    if current is None:
        shard = _create(path, dimension)
        name_current(path, shard, dimension)
        return shard
    for other in path.glob("shard-*"):
        if other.name != current.shard:
            shutil.rmtree(other, ignore_errors=True)
    shard = load(path / current.shard, dimension)
    shard.settled = current.settled
    return shard


def _read_current(path: Path, dimension: int) -> Current | None:
    """What ``CURRENT`` says; without it, the only shard there is, if there is one."""
    file = path / CURRENT
    if not file.exists():
        shards = sorted(shard.name for shard in path.glob("shard-*"))
        if len(shards) > 1:
            raise Unavailable(
                f"{str(file)!r} is missing and several shards lie beside it, so that the live one is not known: "
                f"remove {str(path)!r} and index the documents again."
            )
        return Current(shards[0], dimension, settled=0) if shards else None
    try:
        current = Current(**json.loads(file.read_bytes()))
    except (ValueError, TypeError) as error:
        raise Unavailable(
            f"{str(file)!r} cannot be read: restore it, or remove {str(path)!r} and index the documents again."
        ) from error
    if current.dimension != dimension:
        raise InvalidInput(
            f"The vector index in {str(path)!r} holds vectors of {current.dimension} dimensions, the embedding model "
            f"gives {dimension}: set EMBEDDING__MODEL back, or remove the folder and index the documents again."
        )
    return current


def name_current(path: Path, shard: Shard, dimension: int) -> None:
    """Make the shard the one that the next start opens."""
    new = path / f"{CURRENT}.new"
    new.write_text(json.dumps(Current(shard.path.name, dimension, shard.settled)._asdict()), "utf-8")
    sync(new)
    new.replace(path / CURRENT)


def sync(*files: Path) -> None:
    """Write files, and the names in folders, through to the disk without holding the interpreter lock."""
    for file in files:
        with suppress(FileNotFoundError):
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def copy_file(source: str, target: str) -> None:
    """Copy what a file holds and leave out its holes, which are most of the engine's files."""
    with Path(source).open("rb") as origin, Path(target).open("wb") as copy:
        size = os.fstat(origin.fileno()).st_size
        copy.truncate(size)
        end = 0
        while end < size:
            try:
                start = os.lseek(origin.fileno(), end, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    return
                raise
            end = os.lseek(origin.fileno(), start, os.SEEK_HOLE)
            os.lseek(copy.fileno(), start, os.SEEK_SET)
            while start < end:
                start += os.sendfile(copy.fileno(), origin.fileno(), start, end - start)


def shard_name() -> str:
    """A name that no shard has had."""
    return f"shard-{uuid.uuid4().hex[:12]}"


def config(dimension: int, optimizers: engine.EdgeOptimizersConfig | None = None) -> engine.EdgeConfig:
    """What a shard of ours holds."""
    return engine.EdgeConfig(
        vectors={DENSE: engine.EdgeVectorParams(size=dimension, distance=engine.Distance.Cosine)},
        sparse_vectors={LEXICAL: engine.EdgeSparseVectorParams(modifier=engine.Modifier.Idf)},
        optimizers=optimizers,
    )


def _create(path: Path, dimension: int) -> Shard:
    """Make an empty shard under a name that is deleted at the next start unless it was finished."""
    unfinished = path / f"{shard_name()}{UNFINISHED}"
    with translated():
        shard = engine.EdgeShard.create(str(unfinished), config(dimension))
        for field, index in (
            ("tenant", engine.UuidIndexParams(is_tenant=True)),
            ("collection", engine.UuidIndexParams()),
            ("document", engine.UuidIndexParams(enable_hnsw=False)),
        ):
            shard.update(engine.UpdateOperation.create_field_index(field, index))
        shard.close()
    return load(unfinished.rename(unfinished.with_suffix("")), dimension)


def load(path: Path, dimension: int) -> Shard:
    """Open a shard.

    Raises:
        Unavailable: when its files cannot be read.
    """
    try:
        return Shard(engine.EdgeShard.load(str(path), config(dimension)), path, settled=0)
    except BaseException as error:  # a panic of the engine is no `Exception`
        raise Unavailable(
            f"The vector index in {str(path)!r} cannot be opened: {error}. Restore the folder from a backup, or "
            f"remove {str(path.parent)!r} and index the documents again."
        ) from error
