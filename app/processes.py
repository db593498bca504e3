"""How a child process is started, recognised later and ended, so that none is left behind.

A child gets its own session (a Ctrl-C in the terminal reaches the supervisor alone) and a death signal (it
ends when the supervisor is killed). What survives even that is found again by its process id and start time.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

import psutil

PR_SET_PDEATHSIG = 1
# Looked up here: the forked child must not wait for a lock that another thread held at the fork.
_prctl = ctypes.CDLL(None, use_errno=True).prctl


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The user that a child runs as when the supervisor is root.

    ``passes_walls`` lets it pass through folders that are closed to it and read in them, but write nowhere.
    """

    uid: int
    gid: int
    passes_walls: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What is started, and how; ``death_signal`` is what it gets when its parent dies."""

    argv: Sequence[str]
    env: Mapping[str, str] = field(repr=False)
    cwd: Path | None = None
    account: Account | None = None
    death_signal: signal.Signals = signal.SIGTERM

    @property
    def full_argv(self) -> list[str]:
        """The arguments, behind ``setpriv`` where the account needs a capability."""
        if self.account is None or not self.account.passes_walls:
            return list(self.argv)
        return [
            shutil.which("setpriv") or "setpriv",
            f"--reuid={self.account.uid}",
            f"--regid={self.account.gid}",
            "--clear-groups",
            f"--pdeathsig={self.death_signal.name.removeprefix('SIG')}",
            # PostgreSQL asks access(2), which ignores the capabilities of all but root without this bit.
            "--securebits=+no_setuid_fixup",
            "--inh-caps=+dac_read_search",
            "--ambient-caps=+dac_read_search",
            "--",
            *self.argv,
        ]

    def options(self, output: IO[bytes] | int) -> dict[str, Any]:
        """The keyword arguments for ``Popen`` and ``create_subprocess_exec``.

        The kernel sends the death signal when the *thread* ends that started the child, so use one that
        outlives it.
        """
        options: dict[str, Any] = {
            "env": dict(self.env),
            "cwd": self.cwd,
            "stdin": subprocess.DEVNULL,
            "stdout": output,
            "stderr": subprocess.STDOUT,
            "start_new_session": True,
        }
        if self.account is None or not self.account.passes_walls:
            options["preexec_fn"] = _DeathSignal(os.getpid(), self.death_signal)
        if self.account is not None and not self.account.passes_walls:
            options |= {"user": self.account.uid, "group": self.account.gid, "extra_groups": []}
        return options

    def start(self, output: IO[bytes] | int) -> subprocess.Popen[bytes]:
        """Start it; the arguments are ours, nothing in them comes from a request."""
        return subprocess.Popen(self.full_argv, **self.options(output))  # noqa: S603 - as the docstring says


class _DeathSignal(NamedTuple):
    """Called in the forked child after its user has changed, since that clears the setting."""

    parent: int
    signal: signal.Signals

    def __call__(self) -> None:
        _prctl(PR_SET_PDEATHSIG, int(self.signal))
        if os.getppid() != self.parent:  # the parent died before the request
            os._exit(1)


def signal_group(pid: int, number: signal.Signals) -> None:
    """Signal every process of the group that `pid` leads; an empty group is no error."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def find(pid: int, created: float) -> psutil.Process | None:
    """The living process with this id and start time (seconds since the epoch): ids are used again."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if process.create_time() == created and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None


def end(processes: Sequence[psutil.Process], polite: signal.Signals, *, grace_s: float) -> None:
    """Send `polite`, wait up to `grace_s` seconds, then kill what is left. Blocks."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(polite)
    _, alive = psutil.wait_procs(processes, timeout=grace_s)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=5)
