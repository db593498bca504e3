"""What a look at a source has to do: a pure function of what it offers and what is stored of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath

from wcmatch import glob

from ingest.sources.source import Item

# A pattern without a slash fits at any depth, as in .gitignore; letters are compared as a person reads them.
FLAGS = glob.GLOBSTAR | glob.DOTGLOB | glob.MATCHBASE | glob.IGNORECASE | glob.FORCEUNIX


class Action(StrEnum):
    """What is to be done about an item."""

    ADD = "add"
    CHANGE = "change"
    CHECK = "check"
    UNCHANGED = "unchanged"
    REMOVE = "remove"
    SKIP = "skip"


ORDER = (Action.REMOVE, Action.CHANGE, Action.CHECK, Action.ADD, Action.UNCHANGED, Action.SKIP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is to be done about one item; ``reason`` says why it is skipped, or which item has the same bytes."""

    action: Action
    id: str
    path: str
    size: int | None = None
    reason: str = ""
    item: Item | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Which items are wanted.

    ``include`` and ``exclude`` are patterns as a shell has them, with ``**`` for any depth; one that fits a folder fits
    all below it. Without ``include`` everything is wanted. ``suffixes`` are the extensions, in lower case and with
    their dot, that nothing reads. ``max_bytes`` of 0 is no limit.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    suffixes: frozenset[str] = frozenset()
    max_bytes: int = 0
    hidden: bool = False

    def refusal(self, item: Item) -> str | None:
        """Why an item is not wanted; nothing when it is."""
        path = PurePosixPath(item.path)
        if not self.hidden and any(part.startswith(".") for part in path.parts):
            return "hidden"
        if self.include and not fits(path, self.include):
            return "not included"
        if fits(path, self.exclude):
            return "excluded"
        if path.suffix.lower() in self.suffixes:
            return f"files of type {path.suffix.lower()!r} cannot be read"
        if item.size == 0:
            return "empty"
        if self.max_bytes and (item.size or 0) > self.max_bytes:
            return f"larger than {self.max_bytes / (1 << 20):g} MiB"
        return None


def fits(path: PurePosixPath, patterns: tuple[str, ...]) -> bool:
    """Whether a pattern fits the path or a folder that it lies in."""
    if not patterns:
        return False
    places = [str(path), *(str(folder) for folder in path.parents if folder.name)]
    return any(glob.globmatch(place, [pattern.strip("/") for pattern in patterns], flags=FLAGS) for place in places)


def plan_sync(
    items: Iterable[Item],
    stored: Mapping[str, str | None],
    rules: Rules,
    *,
    mirror: bool = False,
    by_content: bool = False,
) -> list[Step]:
    """What to do about each item, and about each that is stored and no longer offered.

    Args:
        items: what the source offers; of several with one id the first counts.
        stored: the version of each item that has a document, by its id; ``None`` when it is not known.
        rules: which items are wanted. One that is stored and no longer wanted counts as gone.
        mirror: whether what is gone is to be removed; otherwise it stays, and no step names it.
        by_content: whether versions are hashes of the bytes, so that two items of one version need one document.

    Returns:
        The steps in an order in which they can be carried out: what gives bytes free comes before what brings them.
    """
    offered: dict[str, Item] = {}
    for item in items:
        offered.setdefault(item.id, item)
    refusals = {item.id: reason for item in offered.values() if (reason := rules.refusal(item))}
    wanted = {id_: item for id_, item in offered.items() if id_ not in refusals}
    steps = [_step(Action.SKIP, offered[id_], reason) for id_, reason in refusals.items()]
    if by_content:
        steps += _by_content(wanted, stored)
    else:
        steps += [_by_version(item, stored) for item in wanted.values()]
    if mirror:
        needed = {item.version for item in wanted.values()} if by_content else set()
        gone = sorted(id_ for id_ in stored.keys() - wanted.keys() if stored[id_] is None or stored[id_] not in needed)
        steps += [Step(action=Action.REMOVE, id=id_, path=_path(id_, offered), reason="gone") for id_ in gone]
    return sorted(steps, key=lambda step: ORDER.index(step.action))


def count(steps: Iterable[Step]) -> dict[Action, int]:
    """How many steps there are of each action that occurs, in the order of the actions."""
    found = Counter(step.action for step in steps)
    return {action: found[action] for action in Action if found[action]}


def _by_version(item: Item, stored: Mapping[str, str | None]) -> Step:
    if item.id not in stored:
        return _step(Action.ADD, item)
    if item.version is None:
        return _step(Action.CHECK, item)
    return _step(Action.UNCHANGED if item.version == stored[item.id] else Action.CHANGE, item)


def _by_content(wanted: Mapping[str, Item], stored: Mapping[str, str | None]) -> Iterator[Step]:
    """One document for each content; an item finds its content where another one has it and keeps it."""
    now: dict[str, str] = {version: id_ for id_, version in stored.items() if version is not None}
    kept = {
        version: id_
        for id_, version in stored.items()
        if version is not None and (id_ not in wanted or wanted[id_].version == version)
    }
    for id_, item in wanted.items():
        if item.version is None:
            raise ValueError("An item that is compared by its content must have a version.")
        holder = kept.setdefault(item.version, id_)
        if stored.get(id_) == item.version:
            yield _step(Action.UNCHANGED, item)
        elif holder != id_:
            yield _step(Action.UNCHANGED, item, f"same content as {_path(holder, wanted)!r}")
            if id_ in stored:
                yield _step(Action.REMOVE, item, f"same content as {_path(holder, wanted)!r}")
        elif id_ in stored and item.version not in now:
            yield _step(Action.CHANGE, item)
        else:
            # Its bytes are those of a document that is about to get others: it must wait until they are free.
            if id_ in stored:
                yield _step(Action.REMOVE, item, "changed")
            yield _step(Action.ADD, item)


def _path(id_: str, items: Mapping[str, Item]) -> str:
    return items[id_].path if id_ in items else id_


def _step(action: Action, item: Item, reason: str = "") -> Step:
    return Step(action=action, id=item.id, path=item.path, size=item.size, reason=reason, item=item)
