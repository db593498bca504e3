"""A tool's rule: whether it has an effect, which decisions its calls wait for, whose they are and for how long."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from core.domain import Principal, PrincipalId, Role
from core.errors import InvalidInput

DecisionKind = Literal["approve", "edit", "reject", "respond"]
EVERY_DECISION: tuple[DecisionKind, ...] = ("approve", "edit", "reject", "respond")

OWNER = "owner"
"""Whose thread it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What holds for the calls of one tool.

    ``approval`` are the decisions that a person may take about a call; empty: a call needs none. ``decided_by`` says
    who that person may be: ``owner`` (whose thread it is), ``role:NAME`` (the role or one that may do more),
    ``principal:ID`` or ``principal:NAME``. Who may only read decides nothing. Undecided calls are rejected after
    ``expires_after``; ``None``: they wait for ever.

    Raises:
        InvalidInput: a decision or decider is not one of these.
    """

    effect: bool = True
    approval: tuple[DecisionKind, ...] = EVERY_DECISION
    decided_by: tuple[str, ...] = (OWNER,)
    expires_after: timedelta | None = None
    description: str | None = None

    def __post_init__(self) -> None:
        if strange := [kind for kind in self.approval if kind not in EVERY_DECISION]:
            raise InvalidInput(f"There is no decision {strange[0]!r}; there are {', '.join(EVERY_DECISION)}.")
        for decider in self.decided_by:
            kind, _, name = decider.partition(":")
            known = decider == OWNER or (kind == "principal" and name) or (kind == "role" and name in set(Role))
            if not known:
                raise InvalidInput(f"{decider!r} decides nothing: write 'owner', 'role:NAME' or 'principal:NAME'.")
        if self.approval and not self.decided_by:
            raise InvalidInput("A rule that asks for approval must say who decides.")

    @property
    def free(self) -> bool:
        """Whether a call may run without a row in the ledger, as often as it likes."""
        return not self.effect and not self.approval


READ_ONLY = Rule(effect=False, approval=())
"""The rule of tools that only read."""


def names_of(principal: Principal) -> list[str]:
    """What ``decided_by`` may call a principal, but for ``owner``; nothing for one who may only read."""
    if not principal.role.may_write:
        return []
    roles = list(Role)
    covered = roles[roles.index(principal.role) :]
    return [*(f"role:{role.value}" for role in covered), f"principal:{principal.id}", f"principal:{principal.name}"]


def may_decide(principal: Principal, decided_by: Collection[str], owner: PrincipalId) -> bool:
    """Whether the decision is the principal's; ``owner`` is whose thread it is."""
    if principal.id == owner and OWNER in decided_by and principal.role.may_write:
        return True
    return not set(names_of(principal)).isdisjoint(decided_by)


def check_allowed(kind: str, allowed: Sequence[str], name: str) -> None:
    """Refuse a decision that the tool's rule does not have.

    Raises:
        InvalidInput: it is not among ``allowed``; the message names those that are.
    """
    if kind not in allowed:
        raise InvalidInput(f"{kind!r} is not possible for a call of {name!r}. Possible: {', '.join(allowed)}.")
