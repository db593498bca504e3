"""The life of a run as pure rules, walked by hypothesis with any number of runs on threads of one tenant."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from app.runs.life import ACTIVE, STEPS, TERMINAL, Action, Limits, Load, Status, Step, Strategy, Wish, after, decide
from core.errors import Conflict, LimitExceeded

LIMITS = Limits(running=2, waiting=3)
THREADS = st.integers(0, 2)
ENDS = st.sampled_from([Step.SUCCEED, Step.FAIL, Step.TIME_OUT, Step.STOP, Step.ROLL_BACK])


@dataclass(eq=False)
class Model:
    """A run of the model; ``status`` of ``None``: it is gone."""

    thread: int
    status: Status | None
    stopped: Action | None = None


def load_of(*, running: int = 0, waiting: int = 0, tenant: tuple[int, int] = (0, 0), status: str = "idle") -> Load:
    return Load(
        thread_status=status,
        running=running,
        waiting=waiting,
        tenant_running=max(tenant[0], running),
        tenant_waiting=max(tenant[1], waiting),
    )


class Lives(RuleBasedStateMachine):
    """What admissions, runners and people do, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[Model] = []
        self.final: dict[Model, Status] = {}

    def of(self, status: Status, thread: int | None = None) -> list[Model]:
        return [run for run in self.runs if run.status is status and thread in (None, run.thread)]

    def move(self, run: Model, step: Step) -> None:
        assert run.status is not None
        run.status = after(run.status, step)
        if run.status in TERMINAL:
            self.final[run] = run.status

    @rule(
        thread=THREADS, strategy=st.sampled_from(["reject", "enqueue", "interrupt", "rollback"]), offered=st.booleans()
    )
    def admit(self, thread: int, strategy: Strategy, offered: bool) -> None:
        load = load_of(
            running=len(self.of(Status.RUNNING, thread)),
            waiting=len(self.of(Status.PENDING, thread)),
            tenant=(len(self.of(Status.RUNNING)), len(self.of(Status.PENDING))),
        )
        busy = load.running + load.waiting > 0
        try:
            decision = decide(load, Wish(strategy=strategy, offered=offered), LIMITS)
        except Conflict:
            assert busy
            assert strategy == "reject"
            return
        except LimitExceeded:
            assert load.tenant_waiting >= LIMITS.waiting
            return
        if decision.displace:
            for run in self.of(Status.PENDING, thread):
                self.move(run, Step.ROLL_BACK if decision.displace == "rollback" else Step.STOP)
            for run in self.of(Status.RUNNING, thread):
                run.stopped = decision.displace
        self.runs.append(Model(thread, Status.PENDING))
        if decision.start:
            self.move(self.runs[-1], Step.CLAIM)

    @rule(thread=THREADS)
    def claim(self, thread: int) -> None:
        waiting = self.of(Status.PENDING, thread)
        if waiting and not self.of(Status.RUNNING, thread) and len(self.of(Status.RUNNING)) < LIMITS.running:
            self.move(waiting[0], Step.CLAIM)

    @rule(thread=THREADS, step=st.sampled_from([Step.TAKE_OVER, Step.RELEASE]))
    def lose_the_process(self, thread: int, step: Step) -> None:
        for run in self.of(Status.RUNNING, thread):
            self.move(run, step)

    @rule(thread=THREADS, step=ENDS)
    def end(self, thread: int, step: Step) -> None:
        for run in self.of(Status.RUNNING, thread):
            asked = {"interrupt": Step.STOP, "rollback": Step.ROLL_BACK, None: step}[run.stopped]
            self.move(run, asked)

    @invariant()
    def a_thread_runs_one_at_a_time(self) -> None:
        for thread in range(3):
            assert len(self.of(Status.RUNNING, thread)) <= 1

    @invariant()
    def limits_hold(self) -> None:
        assert len(self.of(Status.RUNNING)) <= LIMITS.running
        # A run that its process gave up waits again beside those that were let in.
        assert len(self.of(Status.PENDING)) <= LIMITS.waiting + LIMITS.running

    @invariant()
    def what_has_ended_stays_as_it_is(self) -> None:
        assert all(run.status is status for run, status in self.final.items())

    def teardown(self) -> None:
        """Everything that was admitted ends when runners go on."""
        for _ in range(len(self.runs) + 1):
            for thread in range(3):
                self.end(thread, Step.SUCCEED)
                self.claim(thread)
        assert not any(run.status in ACTIVE for run in self.runs)


Lives.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestLives = Lives.TestCase


@pytest.mark.parametrize("status", TERMINAL)
@pytest.mark.parametrize("step", Step)
def test_nothing_happens_to_a_run_that_has_ended(status: Status, step: Step) -> None:
    with pytest.raises(Conflict, match=status.value):
        after(status, step)


def test_every_step_leads_somewhere_and_from_every_active_status_to_an_end() -> None:
    assert {step for _, step in STEPS} == set(Step)
    for status in ACTIVE:
        assert {after(status, Step.STOP), after(status, Step.ROLL_BACK)} == {Status.INTERRUPTED, None}


def test_an_answer_is_taken_only_by_a_thread_that_waits_for_one() -> None:
    answer = Wish(resumes=True, strategy="enqueue", offered=True)
    assert decide(load_of(status="interrupted"), answer, LIMITS).start
    for load in (load_of(), load_of(running=1, status="busy"), load_of(waiting=1, status="busy")):
        with pytest.raises(Conflict, match="waits for no answer"):
            decide(load, answer, LIMITS)


def test_a_run_for_later_waits_and_a_tenant_at_its_limit_too() -> None:
    assert not decide(load_of(), Wish(later=True, offered=True), LIMITS).start
    assert not decide(load_of(tenant=(2, 0)), Wish(offered=True), LIMITS).start
    assert not decide(load_of(), Wish(), LIMITS).start


def test_those_that_make_room_do_not_count_against_the_limit() -> None:
    full = load_of(running=1, waiting=3)
    with pytest.raises(LimitExceeded, match="RUNS__TENANT_QUEUED"):
        decide(full, Wish(strategy="enqueue"), LIMITS)
    assert decide(full, Wish(strategy="rollback"), LIMITS).displace == "rollback"
