"""Which checkpoints are superfluous: never one that a kept one needs."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph.checkpoint.base.id import uuid6

from app.retention import Key, Mark, checkpoint_id_at, superfluous

START = datetime(2026, 1, 1, tzinfo=UTC)
CHANNELS = st.frozensets(st.sampled_from(["messages", "files"]))


def mark(
    number: int,
    *,
    namespace: str = "",
    parent: int | None = None,
    root: int | None = None,
    pending: frozenset[str] = frozenset(),
    stored: frozenset[str] = frozenset(),
) -> Mark:
    return Mark(
        key=Key(namespace, f"{number:04}"),
        parent=None if parent is None else f"{parent:04}",
        at=START + timedelta(days=number),
        root=None if root is None else f"{root:04}",
        pending=pending,
        stored=stored,
    )


def numbers(keys: set[Key]) -> list[tuple[str, int]]:
    return sorted((key.namespace, int(key.id)) for key in keys)


@st.composite
def threads(draw: st.DrawFn) -> list[Mark]:
    """The checkpoints of a thread with forks; some hold only changes, some the whole."""
    marks: list[Mark] = []
    for number in range(draw(st.integers(1, 15))):
        parent = draw(st.none() | st.integers(0, number - 1)) if number else None
        pending = draw(CHANNELS) if parent is not None else frozenset()
        marks.append(mark(number, parent=parent, pending=pending, stored=draw(CHANNELS) - pending))
    return marks


def rebuilt(marks: list[Mark], key: Key) -> dict[str, list[Key]]:
    """For each channel that is stored as changes: the checkpoints that its value is built from."""
    known = {one.key: one for one in marks}
    chains = {}
    for channel in known[key].pending:
        chain, place = [], known[key].parent
        while place is not None and (before := known.get(Key("", place))) is not None:
            chain.append(before.key)
            if channel in before.stored:
                break
            place = before.parent
        chains[channel] = chain
    return chains


@settings(max_examples=25)
@given(threads(), st.integers(1, 20))
def test_what_is_kept_can_be_rebuilt_as_before(marks: list[Mark], keep: int) -> None:
    gone = superfluous(marks, keep)
    kept = [one for one in marks if one.key not in gone]
    newest = sorted(one.key for one in marks)[-keep:]
    assert not gone & set(newest)
    for key in newest:
        assert rebuilt(kept, key) == rebuilt(marks, key)


@settings(max_examples=25)
@given(threads(), st.integers(1, 20), st.integers(1, 20), st.integers(0, 20))
def test_pruning_twice_removes_no_more_and_keeping_more_removes_less(
    marks: list[Mark], keep: int, more: int, days: int
) -> None:
    gone = superfluous(marks, keep)
    assert superfluous([one for one in marks if one.key not in gone], keep) == set()
    assert superfluous(marks, keep + more) <= gone <= superfluous(marks, keep, START + timedelta(days=days))


def test_the_newest_is_kept_however_old_it_is() -> None:
    marks = [mark(0), mark(1, parent=0), mark(2, parent=1)]
    assert numbers(superfluous(marks, 5, START + timedelta(days=1))) == [("", 0)]
    assert numbers(superfluous(marks, 5, START + timedelta(days=100))) == [("", 0), ("", 1)]


def test_a_subgraphs_call_goes_with_the_checkpoint_it_was_called_from_and_its_memory_stays() -> None:
    marks = [
        mark(0),
        mark(1, namespace="inner:a", root=0),
        mark(2, namespace="inner:a", root=0, parent=1),
        mark(3, namespace="memory", root=0),
        mark(4, namespace="memory", root=0, parent=3),
        mark(5, parent=0),
        mark(6, namespace="inner:b", root=5),
    ]
    assert numbers(superfluous(marks, 1)) == [("", 0), ("inner:a", 1), ("inner:a", 2), ("memory", 3)]
    assert superfluous(marks, 2) == set()


def test_a_thread_without_checkpoints_of_its_graph_is_left_alone() -> None:
    assert superfluous([mark(1, namespace="inner:a", root=0)], 1) == set()


def test_a_moment_is_found_among_the_ids_of_checkpoints() -> None:
    before, made = datetime.now(UTC), str(uuid6())
    after = datetime.now(UTC) + timedelta(microseconds=1)
    assert checkpoint_id_at(before - timedelta(seconds=1)) < made < checkpoint_id_at(after + timedelta(seconds=1))
    assert uuid.UUID(made).version == 6
