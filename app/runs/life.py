r"""The life of a run as pure rules: which step leads from which status to which, and what is done with a new run.

    pending --claim--> running --succeed | fail | time_out | stop--> success | error | timeout | interrupted
       ^                  |  \--take_over--> running       (its process died: its lease is over)
       |                  \--release--> pending            (its process stops in good order)
       \--stop--> interrupted

``roll_back`` leads from either to nothing: the run and what it wrote are gone. What has ended never changes again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypeAlias

from core.errors import Conflict, LimitExceeded, PlatformError

Strategy: TypeAlias = Literal["reject", "enqueue", "interrupt", "rollback"]
Action: TypeAlias = Literal["interrupt", "rollback"]

RETRY_AFTER_S = 5


class Status(StrEnum):
    """Where a run is."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCESS = "success"
    ERROR = "error"
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"


class Step(StrEnum):
    """What happens to a run."""

    CLAIM = "claim"
    RELEASE = "release"
    TAKE_OVER = "take_over"
    SUCCEED = "succeed"
    FAIL = "fail"
    TIME_OUT = "time_out"
    STOP = "stop"
    ROLL_BACK = "roll_back"


ACTIVE = (Status.PENDING, Status.RUNNING)
STOPPED = ("interrupted", "error")
"""What a thread is that can go on from where it stands."""
TERMINAL = tuple(status for status in Status if status not in ACTIVE)

STEPS: Mapping[tuple[Status, Step], Status | None] = {
    (Status.PENDING, Step.CLAIM): Status.RUNNING,
    (Status.PENDING, Step.STOP): Status.INTERRUPTED,
    (Status.PENDING, Step.ROLL_BACK): None,
    (Status.RUNNING, Step.RELEASE): Status.PENDING,
    (Status.RUNNING, Step.TAKE_OVER): Status.RUNNING,
    (Status.RUNNING, Step.SUCCEED): Status.SUCCESS,
    (Status.RUNNING, Step.FAIL): Status.ERROR,
    (Status.RUNNING, Step.TIME_OUT): Status.TIMEOUT,
    (Status.RUNNING, Step.STOP): Status.INTERRUPTED,
    (Status.RUNNING, Step.ROLL_BACK): None,
}
"""Where each step leads from; ``None``: the run is gone. A pair that is missing does not happen."""


def after(status: Status, step: Step) -> Status | None:
    """Where the step leads.

    Raises:
        Conflict: it is not possible from there.
    """
    if (status, step) not in STEPS:
        raise Conflict(f"A run that is {status.value!r} allows no step {step.value!r}.")
    return STEPS[status, step]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What there is at the moment of an admission: on the thread, and of the whole tenant."""

    thread_status: str
    running: int
    waiting: int
    tenant_running: int
    tenant_waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked of an admission.

    ``resumes``: the run answers a question of the thread. ``later``: it is not to start yet. ``offered``: the
    admitting process would execute it at once.
    """

    strategy: Strategy = "reject"
    resumes: bool = False
    later: bool = False
    offered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many runs a tenant may have at once: under way, and waiting."""

    running: int
    waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What is done: whether the run starts now, and what becomes of those before it on the thread."""

    start: bool
    displace: Action | None = None


def decide(load: Load, wish: Wish, limits: Limits) -> Admission:
    """What to do with a new run.

    Raises:
        Conflict: the thread is busy and shall not be disturbed, or has no question to answer.
        LimitExceeded: as many runs of the tenant wait as may.
    """
    busy = load.running + load.waiting > 0
    displaces = wish.strategy in ("interrupt", "rollback")
    if problem := _objection(load, wish, busy=busy):
        raise problem
    start = wish.offered and not wish.later and not busy and load.tenant_running < limits.running
    # Those that wait before it on the thread make room for it.
    waiting = load.tenant_waiting - (load.waiting if displaces else 0)
    if not start and waiting >= limits.waiting:
        raise LimitExceeded(
            f"{load.tenant_waiting} of your runs wait already, which is the limit (RUNS__TENANT_QUEUED). "
            "Try again when some of them have ended.",
            retry_after_s=RETRY_AFTER_S,
        )
    displace: Action = "rollback" if wish.strategy == "rollback" else "interrupt"
    return Admission(start=start, displace=displace if busy and displaces else None)


def _objection(load: Load, wish: Wish, *, busy: bool) -> PlatformError | None:
    if busy and wish.strategy == "reject":
        return Conflict(
            "A run is active on this thread. Wait for it, cancel it, start another thread, or say by "
            "multitask_strategy what shall become of it: enqueue, interrupt or rollback."
        )
    if wish.resumes and (busy or load.thread_status not in STOPPED):
        return Conflict("The thread waits for no answer: its question was answered already, or there was none.")
    return None
