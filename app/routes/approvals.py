"""Approvals: the tool calls that wait for the caller's decision, over all threads, and the decision."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from app.approvals.approval import Outcome
from app.auth import Caller, Using
from app.cursor import read_moment, write_cursor
from tools.ledger import CallStatus, Decision
from tools.rule import DecisionKind

router = APIRouter(tags=["approvals"])


class ApprovalOut(BaseModel):
    """A tool call that a person decides, and what became of it."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    thread_id: UUID
    run_id: UUID | None = Field(description="the run that asked")
    tool_call_id: str
    name: str = Field(description="the tool")
    args: dict[str, Any] = Field(description="what the model wants it to run with")
    description: str | None
    allowed: list[DecisionKind]
    decided_by: list[str] = Field(description="whose decision it is: owner, role:NAME, principal:NAME or principal:ID")
    expires_at: datetime | None = Field(description="when it counts as rejected; null: never")
    status: CallStatus
    decision: DecisionKind | None
    decided_args: dict[str, Any] | None = Field(description="what the tool runs with instead, after an edit")
    message: str | None = Field(description="the reason of a rejection, or the response")
    decider_id: UUID | None
    decider_name: str | None
    decided_at: datetime | None
    created_at: datetime


class ApprovalPage(BaseModel):
    """A page of approvals, newest first; ``next_cursor`` fetches the next one."""

    approvals: list[ApprovalOut]
    next_cursor: str | None


class DecisionIn(BaseModel):
    """A decision: an ``edit`` comes with ``args``, a ``respond`` with ``message``, a ``reject`` may."""

    model_config = ConfigDict(extra="forbid")

    decision: DecisionKind
    args: dict[str, Any] | None = None
    message: str | None = Field(None, max_length=20_000)

    @property
    def value(self) -> Decision:
        """The decision as the ledger takes it."""
        return Decision(kind=self.decision, args=self.args, message=self.message)


class BoundDecisionIn(DecisionIn):
    """A decision about one of several approvals."""

    id: UUID


class DecisionsIn(BaseModel):
    """Decisions that are taken together or not at all."""

    model_config = ConfigDict(extra="forbid")

    decisions: list[BoundDecisionIn] = Field(min_length=1, max_length=100)


class DecidedOut(BaseModel):
    """What was decided, and the runs that went on: those whose calls are all decided now."""

    approvals: list[ApprovalOut]
    runs: list[UUID]


@router.get("/approvals")
async def list_approvals(
    principal: Caller,
    services: Using,
    status: CallStatus | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: str | None = None,
) -> ApprovalPage:
    """The approvals that are or were the caller's to decide, over all threads, newest first."""
    after = read_moment(cursor) if cursor else None
    entries = await services.approvals.list(principal, status=status, after=after, limit=limit + 1)
    page = entries[:limit]
    more = len(entries) > limit
    return ApprovalPage(
        approvals=[ApprovalOut.model_validate(entry) for entry in page],
        next_cursor=write_cursor(page[-1].created_at, page[-1].id) if more else None,
    )


@router.get("/approvals/{approval_id}")
async def get_approval(approval_id: UUID, principal: Caller, services: Using) -> ApprovalOut:
    """One approval."""
    return ApprovalOut.model_validate(await services.approvals.get(principal, approval_id))


@router.post("/approvals/{approval_id}")
async def decide_approval(approval_id: UUID, body: DecisionIn, principal: Caller, services: Using) -> DecidedOut:
    """Decide about one tool call; its run goes on when it was the last one that waited."""
    return decided(await services.approvals.decide(principal, {approval_id: body.value}))


@router.post("/approvals")
async def decide_approvals(body: DecisionsIn, principal: Caller, services: Using) -> DecidedOut:
    """Decide about several tool calls, all or none."""
    return decided(await services.approvals.decide(principal, {one.id: one.value for one in body.decisions}))


def decided(outcome: Outcome) -> DecidedOut:
    """The answer to a decision."""
    return DecidedOut(
        approvals=[ApprovalOut.model_validate(entry) for entry in outcome.entries],
        runs=[run.id for run in outcome.runs],
    )
