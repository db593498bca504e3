from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from app.record import Record, end_recorded


@pytest.fixture
def left() -> Iterator[subprocess.Popen[bytes]]:
    """A process with a child of its own that nobody ends, as after a supervisor that was killed."""
    with subprocess.Popen(
        ["sh", "-c", "sleep 600 & echo; wait"], stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_what_an_earlier_start_left_is_ended_with_its_children(tmp_path: Path, left: subprocess.Popen[bytes]) -> None:
    path = tmp_path / "supervisor.json"
    Record(path, print).started("api", left.pid)
    family = [psutil.Process(left.pid), *psutil.Process(left.pid).children()]
    assert len(family) == 2
    assert end_recorded(path) == ["api"]
    assert not psutil.wait_procs(family, timeout=10)[1]
    assert not path.exists()


def test_a_process_that_has_the_id_of_a_dead_part_is_left_alone(tmp_path: Path, left: subprocess.Popen[bytes]) -> None:
    path = tmp_path / "supervisor.json"
    Record(path, print).started("api", left.pid)
    content = json.loads(path.read_text())
    content["parts"]["api"]["created"] -= 100
    path.write_text(json.dumps(content))
    assert end_recorded(path) == []
    assert left.poll() is None


@pytest.mark.parametrize("content", [None, "", "[]", '{"parts": {"api": {"pid": null, "created": null}}}'])
def test_no_record_or_a_broken_one_is_no_obstacle(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "supervisor.json"
    if content is not None:
        path.write_text(content)
    assert end_recorded(path) == []


def test_the_record_tells_pid_restarts_and_last_exit(tmp_path: Path, left: subprocess.Popen[bytes]) -> None:
    path = tmp_path / "supervisor.json"
    record = Record(path, print)
    record.started("api", left.pid)
    record.ready("api")
    assert json.loads(path.read_text())["parts"]["api"]["status"] == "ready"
    record.ended("api", 3, restarts=True)
    part = json.loads(path.read_text())["parts"]["api"]
    assert (part["pid"], part["restarts"], part["last_exit"], part["status"]) == (None, 1, 3, "failed")


def test_a_record_that_cannot_be_written_is_told_once_and_stops_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    record = Record(tmp_path / "missing" / "supervisor.json", said.append)
    record.started("api", 1)
    record.ready("api")
    assert len(said) == 1
    assert "No such file or directory" in said[0]
