"""The job that looks after approvals every minute: what is too late is rejected, what is decided goes on."""

from __future__ import annotations

import procrastinate

from app.approvals.approval import Approvals
from app.runs.tasks import QUEUE

TASK = "sweep_approvals"


def add_approval_sweep(app: procrastinate.App, approvals: Approvals) -> None:
    """Register the job; one of all processes that work on runs does it."""

    @app.periodic(cron="* * * * *")
    @app.task(name=TASK, queue=QUEUE, queueing_lock=TASK, lock=TASK)
    async def sweep(timestamp: int) -> None:  # noqa: ARG001 (the engine says when it was due)
        await approvals.sweep()
