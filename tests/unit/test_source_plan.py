from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.sources.plan import Action, Rules, Step, count, fits, plan_sync
from ingest.sources.source import Item

ALL = Rules()
names = st.sampled_from("abcdef")
contents = st.sampled_from(["v1", "v2", "v3", "v4"])
folders = st.dictionaries(names, contents)


def item(id_: str, version: str | None = "v1", *, size: int | None = 1) -> Item:
    return Item(id=id_, path=id_, version=version, size=size)


def items_of(folder: dict[str, str]) -> list[Item]:
    return [item(id_, version) for id_, version in folder.items()]


def actions(steps: list[Step]) -> list[tuple[str, str]]:
    return [(step.action.value, step.id) for step in steps]


def apply(steps: list[Step], stored: dict[str, str]) -> dict[str, str]:
    """What a platform holds afterwards that keeps one document for each content, and changes it in place."""
    held = dict(stored)
    for step in steps:
        if step.action is Action.REMOVE:
            held.pop(step.id)
        elif step.action in (Action.ADD, Action.CHANGE):
            assert step.item is not None
            assert step.item.version is not None
            if step.item.version not in held.values():
                held[step.id] = step.item.version
    return held


def test_each_item_gets_the_one_step_that_it_needs() -> None:
    offered = [item("new"), item("same"), item("other", "v2"), item("asked", None), item("empty", size=0)]
    stored = {"same": "v1", "other": "v1", "asked": "v1", "gone": "v1"}
    steps = [("change", "other"), ("check", "asked"), ("add", "new"), ("unchanged", "same"), ("skip", "empty")]
    assert actions(plan_sync(offered, stored, ALL)) == steps
    assert actions(plan_sync(offered, stored, ALL, mirror=True)) == [("remove", "gone"), *steps]


def test_an_item_that_is_no_longer_wanted_is_gone_for_a_mirror() -> None:
    steps = plan_sync([item("a.log")], {"a.log": "v1"}, Rules(exclude=("*.log",)), mirror=True)
    assert actions(steps) == [("remove", "a.log"), ("skip", "a.log")]
    assert actions(plan_sync([item("a.log")], {"a.log": "v1"}, Rules(exclude=("*.log",)))) == [("skip", "a.log")]


@pytest.mark.parametrize(
    ("path", "rules", "reason"),
    [
        ("a/.git/config", ALL, "hidden"),
        (".env", ALL, "hidden"),
        (".env", Rules(hidden=True), None),
        ("a/b.txt", Rules(include=("*.md",)), "not included"),
        ("a/B.MD", Rules(include=("*.md",)), None),
        ("docs/a/b.txt", Rules(include=("docs",)), None),
        ("docs/a/b.txt", Rules(include=("docs/**/*.txt",)), None),
        ("a/docs/b.txt", Rules(include=("docs/*",)), "not included"),
        ("a/node_modules/b/c.js", Rules(exclude=("node_modules/",)), "excluded"),
        ("a/b.md", Rules(include=("*.md",), exclude=("a/*",)), "excluded"),
        ("a/b.ISO", Rules(suffixes=frozenset({".iso"})), "files of type '.iso' cannot be read"),
    ],
)
def test_rules_say_why_an_item_is_not_wanted(path: str, rules: Rules, reason: str | None) -> None:
    assert rules.refusal(item(path)) == reason


def test_a_size_that_is_known_is_compared_with_the_limit() -> None:
    rules = Rules(max_bytes=3 << 20)
    assert rules.refusal(item("a", size=3 << 20)) is None
    assert rules.refusal(item("a", size=(3 << 20) + 1)) == "larger than 3 MiB"
    assert rules.refusal(item("a", size=None)) is None


def test_a_pattern_with_a_slash_counts_from_the_root() -> None:
    assert fits(PurePosixPath("a/b/c.md"), ("a/b",))
    assert not fits(PurePosixPath("x/a/b/c.md"), ("a/b",))
    assert not fits(PurePosixPath("a/b/c.md"), ())


@given(folders, folders)
def test_a_plan_that_was_carried_out_leaves_nothing_to_do(offered: dict[str, str], stored: dict[str, str]) -> None:
    steps = plan_sync(items_of(offered), stored, ALL, mirror=True)
    assert {step.id for step in steps} == offered.keys() | stored.keys()
    again = plan_sync(items_of(offered), dict(offered), ALL, mirror=True)
    assert count(again) == ({Action.UNCHANGED: len(offered)} if offered else {})


@given(folders, folders)
def test_without_mirror_nothing_is_removed(offered: dict[str, str], stored: dict[str, str]) -> None:
    assert Action.REMOVE not in count(plan_sync(items_of(offered), stored, ALL))


@given(folders, st.dictionaries(contents, names).map(lambda found: {id_: version for version, id_ in found.items()}))
def test_a_mirror_by_content_ends_with_the_contents_that_are_offered(
    offered: dict[str, str], stored: dict[str, str]
) -> None:
    held = apply(plan_sync(items_of(offered), stored, ALL, mirror=True, by_content=True), stored)
    assert sorted(held.values()) == sorted(set(offered.values()))


@given(folders, st.dictionaries(contents, names).map(lambda found: {id_: version for version, id_ in found.items()}))
def test_without_mirror_what_is_offered_is_held_and_what_is_gone_stays(
    offered: dict[str, str], stored: dict[str, str]
) -> None:
    held = apply(plan_sync(items_of(offered), stored, ALL, by_content=True), stored)
    gone = {version for id_, version in stored.items() if id_ not in offered}
    assert set(held.values()) == set(offered.values()) | gone
    assert len(held) == len(set(held.values()))


def test_a_second_item_of_the_same_bytes_needs_no_document() -> None:
    steps = plan_sync([item("a"), item("b")], {}, ALL, by_content=True)
    assert [(step.action.value, step.id, step.reason) for step in steps] == [
        ("add", "a", ""),
        ("unchanged", "b", "same content as 'a'"),
    ]


def test_bytes_that_change_places_are_given_free_before_they_are_taken() -> None:
    steps = plan_sync([item("a", "v2"), item("b", "v1")], {"a": "v1", "b": "v2"}, ALL, by_content=True)
    assert actions(steps) == [("remove", "a"), ("remove", "b"), ("add", "a"), ("add", "b")]
