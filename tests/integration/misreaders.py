"""Readers that do what a hostile file makes a parser do; a child process imports them by name."""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from core.domain import Block, LoadedDocument
from ingest.formats.pdf import read_pages
from ingest.options import ReadOptions


def misread(path: Path, media_type: str, options: ReadOptions) -> LoadedDocument:
    """Do what the file says, as if its bytes had made the reader do it."""
    deed, _, argument = path.read_text().partition(" ")
    return _said(DEEDS[deed](argument))


def misread_pages(path: Path, first: int, last: int, folder: Path) -> None:
    """Read pages, and do what the first words of a page say if they are one of our deeds."""
    for number in range(first, last + 1):
        with TemporaryDirectory() as name:
            read_pages(path, number, number, Path(name))
            (found,) = Path(name).iterdir()
            page = pickle.loads(found.read_bytes())  # noqa: S301 -- written a line above
        words = page.lines[0].text
        deed, _, argument = words.partition(" ")
        DEEDS.get(deed, str)(argument)
        read_pages(path, number, number, folder)


def _sleep(seconds: str) -> str:
    time.sleep(float(seconds))
    return "awake"


def _spin(seconds: str) -> str:
    """In C, where no signal handler of Python's ever runs."""
    ctypes.PyDLL(None).sleep(int(seconds))
    return "awake"


def _crash(_: str) -> str:
    os.kill(os.getpid(), signal.SIGSEGV)
    return "alive"


def _exit(status: str) -> str:
    os._exit(int(status))


def _eat(megabytes: str) -> str:
    return str(len(bytearray(int(megabytes) << 20)))


def _fill(megabytes: str) -> str:
    """Memory that a library takes without asking Python for it: whether it is refused."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    return str(libc.malloc(int(megabytes) << 20) is None)


def _modules(_: str) -> str:
    return " ".join(sorted(set(sys.modules)))


def _said(text: str) -> LoadedDocument:
    return LoadedDocument(text=text, blocks=[Block(start=0, end=len(text))])


DEEDS: dict[str, Callable[[str], str]] = {
    "say": str,
    "sleep": _sleep,
    "spin": _spin,
    "crash": _crash,
    "exit": _exit,
    "eat": _eat,
    "fill": _fill,
    "modules": _modules,
}
