"""The tool call ledger: one decision, one effect, and the truth about what was cut off."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta

import pytest

from core.database import Pool
from core.domain import Principal, Role
from core.errors import Conflict, Forbidden, InvalidInput, NotFound, PlatformError
from tests.conftest import make_principal
from tests.gated import decide, make_thread
from tools.ledger import Call, Decision, Entry, Ledger, cancel_calls
from tools.rule import READ_ONLY, Rule, may_decide

APPROVE = Decision(kind="approve")


async def admitted(pool: Pool, person: Principal, *rules: Rule) -> list[Entry]:
    calls = [Call("m", f"call-{n}", "charge", {"amount": n}, rule) for n, rule in enumerate(rules)]
    return await Ledger(pool).admit(await make_thread(pool, person), None, calls)


async def test_a_call_is_admitted_once_and_keeps_its_row(prepared: Pool, person: Principal) -> None:
    ledger, thread = Ledger(prepared), await make_thread(prepared, person)
    call = Call("m", "call-1", "charge", {"amount": 1}, Rule())
    tries = await asyncio.gather(*(ledger.admit(thread, None, [call]) for _ in range(8)))
    assert len({entry.id for (entry,) in tries}) == 1
    (other,) = await ledger.admit(thread, None, [Call("another message", "call-1", "charge", {}, Rule(approval=()))])
    assert (other.id != tries[0][0].id, other.status) == (True, "approved")
    with pytest.raises(NotFound):
        await ledger.admit(uuid.uuid4(), None, [call])


async def test_fifty_claims_of_one_call_are_one(prepared: Pool, person: Principal) -> None:
    (entry,) = await admitted(prepared, person, Rule(approval=()))
    claims = await asyncio.gather(*(Ledger(prepared).claim(entry.id) for _ in range(50)))
    assert sorted(claims) == [False] * 49 + [True]


async def test_of_fifty_decisions_one_counts(prepared: Pool, person: Principal) -> None:
    (entry,) = await admitted(prepared, person, Rule())
    said = [Decision(kind="respond", message=str(n)) for n in range(50)]
    outcomes = await asyncio.gather(
        *(decide(prepared, person, {entry.id: one}) for one in said), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes if outcome is not None] == [Conflict] * 49
    (after,) = await Ledger(prepared).read([entry.id])
    assert after.message == str(outcomes.index(None))
    assert (after.status, after.decider_id, after.decider_name) == ("responded", person.id, person.name)
    assert after.decided_at is not None


async def test_decisions_are_taken_together_or_not_at_all(prepared: Pool, person: Principal) -> None:
    first, second = await admitted(prepared, person, Rule(), Rule(approval=("approve",)))
    with pytest.raises(InvalidInput, match="Possible: approve"):
        await decide(prepared, person, {first.id: APPROVE, second.id: Decision(kind="reject")})
    assert [entry.status for entry in await Ledger(prepared).read([first.id, second.id])] == ["pending", "pending"]


@pytest.mark.parametrize(
    "decision",
    [
        Decision(kind="edit"),
        Decision(kind="approve", args={}),
        Decision(kind="respond"),
        Decision(kind="respond", message=""),
    ],
)
async def test_a_decision_must_be_whole(prepared: Pool, person: Principal, decision: Decision) -> None:
    (entry,) = await admitted(prepared, person, Rule())
    with pytest.raises(InvalidInput):
        await decide(prepared, person, {entry.id: decision})


async def test_only_those_whom_the_rule_names_decide(prepared: Pool, person: Principal) -> None:
    chief, _ = await make_principal(prepared, person.tenant, Role.ADMINISTRATOR)
    clerk, _ = await make_principal(prepared, person.tenant, Role.MEMBER)
    reader, _ = await make_principal(prepared, person.tenant, Role.VIEWER)
    stranger, _ = await make_principal(prepared)

    async def allowed(rule: Rule) -> list[Principal]:
        deciders = []
        for one in (person, chief, clerk, reader):
            (entry,) = await admitted(prepared, person, rule)
            try:
                await decide(prepared, one, {entry.id: APPROVE})
            except Forbidden:
                continue
            deciders.append(one)
        return deciders

    assert await allowed(Rule()) == [person]
    assert await allowed(Rule(decided_by=("role:administrator",))) == [person, chief]
    assert await allowed(Rule(decided_by=("role:member",))) == [person, chief, clerk]
    assert await allowed(Rule(decided_by=("role:viewer",))) == [person, chief, clerk]
    assert await allowed(Rule(decided_by=(f"principal:{clerk.name}", f"principal:{reader.id}"))) == [clerk]
    (entry,) = await admitted(prepared, person, Rule(decided_by=("role:member",)))
    with pytest.raises(NotFound):
        await decide(prepared, stranger, {entry.id: APPROVE})
    assert not may_decide(reader, ("owner",), reader.id)


async def test_what_nobody_decides_in_time_is_rejected_with_that_reason(prepared: Pool, person: Principal) -> None:
    late, waits = await admitted(prepared, person, Rule(expires_after=timedelta(0)), Rule())
    with pytest.raises(Conflict, match="over"):
        await decide(prepared, person, {late.id: APPROVE})
    assert late.thread_id in await Ledger(prepared).expire()
    after, still = await Ledger(prepared).read([late.id, waits.id])
    assert (after.status, after.decision, after.message, after.decider_id) == (
        "rejected",
        "reject",
        "Nobody decided in time.",
        None,
    )
    assert still.status == "pending"
    assert late.thread_id not in await Ledger(prepared).expire()


async def test_what_was_cut_off_is_in_doubt_until_somebody_knows(prepared: Pool, person: Principal) -> None:
    ledger = Ledger(prepared)
    (entry,) = await admitted(prepared, person, Rule(approval=()))
    assert await ledger.claim(entry.id)
    assert await ledger.doubt(entry.id)
    assert not await ledger.claim(entry.id)
    await ledger.settle(entry.id, "done", ("json", b"1"))
    (after,) = await ledger.read([entry.id])
    assert (after.status, after.result) == ("done", b"1")
    await ledger.settle(entry.id, "failed", ("json", b"2"))
    assert (await ledger.read([entry.id]))[0].result == b"1"


async def test_what_the_conversation_left_behind_is_never_carried_out(prepared: Pool, person: Principal) -> None:
    ledger = Ledger(prepared)
    pending, approved, kept = await admitted(prepared, person, Rule(), Rule(approval=()), Rule())
    async with prepared.connection() as connection:
        await cancel_calls(connection, pending.thread_id, keep=[kept.id])
    assert [entry.status for entry in await ledger.read([pending.id, approved.id, kept.id])] == [
        "cancelled",
        "cancelled",
        "pending",
    ]
    assert not await ledger.claim(approved.id)
    with pytest.raises(Conflict, match="cancelled"):
        await decide(prepared, person, {pending.id: APPROVE})


async def test_an_idle_thread_waits_for_nothing(prepared: Pool, person: Principal) -> None:
    (entry,) = await admitted(prepared, person, Rule())
    async with prepared.connection() as connection:
        for status, expected in (("busy", "pending"), ("interrupted", "pending"), ("idle", "cancelled")):
            await connection.execute("UPDATE threads SET status = %s WHERE id = %s", (status, entry.thread_id))
            assert [one.status for one in await Ledger(prepared).read([entry.id])] == [expected]


def test_a_rule_that_makes_no_sense_is_refused() -> None:
    for wrong in (
        {"approval": ("dance",)},
        {"decided_by": ("role:king",)},
        {"decided_by": ("ann",)},
        {"decided_by": ()},
    ):
        with pytest.raises(PlatformError):
            Rule(**wrong)
    assert READ_ONLY.free
    assert not Rule(effect=False).free
    assert not Rule(approval=()).free
