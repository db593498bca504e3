"""What must hold before anything is started: a folder of our own with room in it, and free ports.

Each check that fails raises ``Unavailable`` with one line that says what to do.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import Unavailable
from core.settings import Settings

ROOM_MB = 200
ROOM_WITH_MODEL_MB = 1_200  # the download, and the requantised file beside it


@contextmanager
def hold_data_dir(data_dir: Path) -> Iterator[None]:
    """Make the folder and its `run` and `logs`, and keep a second supervisor out of it.

    Raises:
        Unavailable: the folder cannot be made or written, or another supervisor holds it.
    """
    try:
        # Others may pass through (the database's user has its own folder in it), but not look around.
        data_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
        for name in ("run", "logs"):
            (data_dir / name).mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise not_writable(data_dir, error) from error
    try:
        _lock(descriptor, data_dir)
        yield
    finally:
        os.close(descriptor)


def not_writable(folder: Path, error: OSError) -> Unavailable:
    """The error to raise when writing below `folder` failed."""
    return Unavailable(
        f"Cannot write to {folder} ({error.strerror}): free some space or make it writable, "
        "or set DATA_DIR to another folder."
    )


def check_room(settings: Settings) -> None:
    """See that the disk has room for what is written first.

    Raises:
        Unavailable: too little is free.
    """
    need = {settings.data_dir: ROOM_MB}
    if settings.chat.base_url is None and not any(settings.models_path.glob("**/*.gguf")):
        need[settings.models_path] = ROOM_WITH_MODEL_MB
    for folder, megabytes in need.items():
        free = shutil.disk_usage(_existing(folder)).free // 1_000_000
        if free < megabytes:
            name = "DATA_DIR" if folder == settings.data_dir else "MODELS_DIR"
            raise Unavailable(
                f"Only {free} MB are free for {folder}, and {megabytes} MB are needed: free some space, "
                f"or set {name} to a folder on another disk."
            )


def check_ports(settings: Settings) -> None:
    """See that the API and the user interface can listen where they should.

    Raises:
        Unavailable: one of them cannot.
    """
    _check_port("API", settings.api.host, settings.api.port)
    if settings.ui.enabled:
        if settings.ui.port == settings.api.port:
            raise Unavailable(f"API__PORT and UI__PORT are both {settings.ui.port}: set one to another port.")
        _check_port("UI", settings.ui.host, settings.ui.port)


def free_port() -> int:
    """A TCP port on the loopback interface that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _check_port(section: str, host: str, port: int) -> None:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except socket.gaierror as error:
        raise Unavailable(f"{section}__HOST: {host!r} is not an address of this machine.") from error
    except OSError as error:
        raise Unavailable(
            f"Port {port} on {host} cannot be used ({error.strerror}): end what uses it, "
            f"or set {section}__PORT to another port."
        ) from error


def _lock(descriptor: int, data_dir: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.read(descriptor, 20).decode("ascii", "replace").strip() or "unknown"
        raise Unavailable(
            f"Ragstone already runs on {data_dir} (process {holder}): use that one, stop it, "
            "or set DATA_DIR to another folder."
        ) from error
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        os.fsync(descriptor)
    except OSError as error:
        raise not_writable(data_dir, error) from error


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())
