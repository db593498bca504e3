from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from app.parts import ROOT
from app.postgres import running
from app.premises import free_port
from app.reference import pages
from core.settings import variables

WAIT_S = 120.0


class Ragstone:
    """`python -m app` as a person starts it, on a DATA_DIR of its own, without UI and with a chat server elsewhere."""

    def __init__(self, data_dir: Path, **settings: str) -> None:
        self.data_dir = data_dir
        self.output = data_dir.with_name(f"{data_dir.name}.out")
        self.env = {name: value for name, value in os.environ.items() if name not in variables()} | {
            "DATA_DIR": str(data_dir),
            "API__PORT": str(free_port()),
            "UI__ENABLED": "false",
            "CHAT__BASE_URL": f"http://127.0.0.1:{free_port()}/v1",
            **settings,
        }
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "app"], cwd=ROOT, env=self.env, stdout=output, stderr=output
            )

    def text(self) -> str:
        return self.output.read_text("utf-8")

    def part(self, name: str) -> dict[str, Any]:
        try:
            content = json.loads((self.data_dir / "run" / "supervisor.json").read_text("utf-8"))
        except FileNotFoundError:
            return {}
        if content["pid"] != self.process.pid:
            return {}  # of an earlier start
        part: dict[str, Any] = content["parts"].get(name, {})
        return part

    def wait_for(self, holds: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while not holds():
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < deadline, f"{what}: {self.text()}"
            time.sleep(0.05)

    def wait_for_parts(self) -> list[psutil.Process]:
        """Every process below the supervisor, once the API has been started."""
        self.wait_for(lambda: self.part("api").get("pid"), "the API is started")
        return psutil.Process(self.process.pid).children(recursive=True)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "app", *words], cwd=ROOT, env=self.env, capture_output=True, text=True, check=False
        )


def failing(data_dir: Path, **settings: str) -> str:
    """The lines of a start that must fail by itself, with status 1."""
    ragstone = Ragstone(data_dir, **settings)
    assert ragstone.process.wait(60) == 1
    assert "Traceback" not in ragstone.text()
    return ragstone.text()


def left_after(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    return psutil.wait_procs(processes, timeout=seconds)[1]


@pytest.fixture(scope="module")
def ragstone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ragstone]:
    started = Ragstone(tmp_path_factory.mktemp("shared") / "data")
    try:
        started.wait_for_parts()
        yield started
    finally:
        started.process.terminate()
        started.process.wait(60)


def test_a_child_that_dies_is_restarted_said_so_and_recorded(ragstone: Ragstone) -> None:
    before = ragstone.part("api")
    os.kill(before["pid"], signal.SIGKILL)
    ragstone.wait_for(lambda: ragstone.part("api").get("pid") not in (None, before["pid"]), "a second API")
    after = ragstone.part("api")
    assert after["restarts"] == before["restarts"] + 1
    assert after["last_exit"] == -signal.SIGKILL
    assert "API ended with signal SIGKILL; it is started again in 1 s." in ragstone.text()


def test_a_database_that_dies_is_restarted_at_the_same_address(ragstone: Ragstone) -> None:
    url, before = running(ragstone.data_dir), ragstone.part("database")
    assert url is not None
    os.kill(before["pid"], signal.SIGKILL)
    ragstone.wait_for(
        lambda: (
            ragstone.part("database").get("pid") not in (None, before["pid"])
            and ragstone.part("database")["status"] == "ready"
        ),
        "a second PostgreSQL",
    )
    assert ragstone.part("database")["restarts"] == before["restarts"] + 1
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM tenants").fetchone() == (1,)


def test_a_second_instance_names_the_first_and_leaves_it_alone(ragstone: Ragstone) -> None:
    second = ragstone.command()
    assert second.returncode == 1
    assert second.stderr.count("\n") == 1
    assert f"already runs on {ragstone.data_dir} (process {ragstone.process.pid})" in second.stderr
    assert ragstone.process.poll() is None


def test_keys_are_made_listed_and_revoked_while_it_runs(ragstone: Ragstone) -> None:
    made = ragstone.command("keys", "create", "reporting", "--role", "viewer")
    assert re.fullmatch(r"rag_[\w-]{43}\n", made.stdout), made.stderr
    assert re.search(r"^reporting +viewer .* valid$", ragstone.command("keys", "list").stdout, re.MULTILINE)
    assert "revoke it first" in ragstone.command("keys", "create", "reporting").stderr
    assert ragstone.command("keys", "revoke", "reporting").returncode == 0
    assert re.search(r"^reporting .* revoked ", ragstone.command("keys", "list").stdout, re.MULTILINE)
    assert "No valid key" in ragstone.command("keys", "revoke", "reporting").stderr


def test_no_key_lies_in_the_data_folder_or_in_an_argument(ragstone: Ragstone) -> None:
    made = ragstone.command("keys", "create", "secret").stdout.strip().encode()
    files = [path for path in ragstone.data_dir.rglob("*") if path.is_file()]
    assert not [path for path in files if made in path.read_bytes()]
    words = [word for child in ragstone.wait_for_parts() for word in child.cmdline()]
    assert not [word for word in words if "rag_" in word]


def test_a_signal_stops_all_parts_in_order_with_status_0(tmp_path: Path) -> None:
    ragstone = Ragstone(tmp_path / "data")
    parts = ragstone.wait_for_parts()
    assert "postgres" in {part.name() for part in parts}
    ragstone.process.send_signal(signal.SIGINT)
    assert ragstone.process.wait(60) == 0
    assert not left_after(parts, 0)
    text = ragstone.text()
    assert text.index("Stopped: API") < text.index("Stopped: PostgreSQL")
    assert len(re.findall(r"rag_[\w-]{43}", text)) == 1, "the first key is shown, once, however early it is stopped"


def test_a_killed_supervisor_leaves_nothing_and_the_next_start_goes_on(tmp_path: Path) -> None:
    first = Ragstone(tmp_path / "data")
    parts = first.wait_for_parts()
    first.process.kill()
    first.process.wait()
    assert not left_after(parts, 30)

    second = Ragstone(tmp_path / "data")
    parts = second.wait_for_parts()
    assert "rag_" not in second.text().removeprefix(first.text())
    second.process.send_signal(signal.SIGHUP)
    assert second.process.wait(60) == 0
    assert not left_after(parts, 0)


def test_a_second_interrupt_ends_everything_at_once(tmp_path: Path) -> None:
    ragstone = Ragstone(tmp_path / "data")
    parts = ragstone.wait_for_parts()
    api = psutil.Process(ragstone.part("api")["pid"])
    api.suspend()  # it will not answer to a polite signal
    ragstone.process.send_signal(signal.SIGINT)
    ragstone.wait_for(lambda: "Stopping" in ragstone.text(), "the stop has begun")
    ragstone.process.send_signal(signal.SIGINT)
    assert ragstone.process.wait(60) == 130
    assert not left_after(parts, 10)


@pytest.mark.parametrize(("section", "other"), [("API", {}), ("UI", {"UI__ENABLED": "true"})])
def test_a_port_in_use_is_named_with_its_setting(tmp_path: Path, section: str, other: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = failing(tmp_path / "data", **other, **{f"{section}__PORT": str(port)})
    assert f"Port {port} on 127.0.0.1 cannot be used" in text
    assert f"{section}__PORT" in text
    assert text.count("\n") == 1


def test_every_bad_setting_is_named(tmp_path: Path) -> None:
    text = failing(tmp_path / "data", CHAT__SLOTS="many", API__PROT="1")
    assert text == "API__PROT: unknown setting; did you mean API__PORT?\n"
    text = failing(tmp_path / "data", CHAT__SLOTS="many", API__PORT="0")
    assert [line.partition(":")[0] for line in text.splitlines()[1:]] == ["API__PORT", "CHAT__SLOTS"]


def test_a_data_dir_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    text = failing(tmp_path / "data")
    assert text.startswith(f"Cannot write to {tmp_path / 'data'} (File exists)")
    assert text.count("\n") == 1


def test_a_database_that_does_not_answer_is_named(tmp_path: Path) -> None:
    text = failing(tmp_path / "data", DATABASE__URL=f"postgresql://nobody@127.0.0.1:{free_port()}/none")
    assert "PostgreSQL does not answer. Check DATABASE__URL" in text


def test_a_database_that_cannot_start_is_shown_with_the_end_of_its_log(tmp_path: Path) -> None:
    ragstone = Ragstone(tmp_path / "data")
    ragstone.wait_for((tmp_path / "data" / "postgres" / "postgresql.conf").exists, "the data folder")
    ragstone.process.terminate()
    ragstone.process.wait(60)
    (tmp_path / "data" / "postgres" / "postgresql.conf").write_text("no_such_setting = 1\n")
    text = failing(tmp_path / "data")
    assert "PostgreSQL does not start." in text
    assert "database.log ends with:" in text
    assert "no_such_setting" in text


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB; only root may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    done = mount and subprocess.run([mount, "-t", "tmpfs", "-o", "size=8m", "none", str(folder)], check=False)
    if not done or done.returncode != 0:
        pytest.skip("mounting a small file system is not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_without_room_is_named_with_what_is_needed(tiny_disk: Path) -> None:
    text = failing(tiny_disk / "data", CHAT__BASE_URL="http://127.0.0.1:9/v1")
    assert "MB are free for" in text
    assert "200 MB are needed" in text
    assert text.count("\n") == 1


def test_a_read_only_disk_is_named(tiny_disk: Path) -> None:
    (tiny_disk / "data").mkdir()
    output = tiny_disk / "data.out"
    output.touch()
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    done = subprocess.run(
        [sys.executable, "-m", "app"],
        cwd=ROOT,
        env=os.environ | {"DATA_DIR": str(tiny_disk / "data")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"Cannot write to {tiny_disk / 'data'} (Read-only file system)")
    assert done.stderr.count("\n") == 1


def test_the_generated_pages_are_up_to_date() -> None:
    for name, text in pages().items():
        assert (ROOT / name).read_text("utf-8") == text, f"{name}: run `python -m app reference`"
