from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from app.cluster import binary, end_leftovers, prepare
from app.parts import ROOT
from app.postgres import answers, run_postgres, running, serve
from app.processes import Account, Command
from core.errors import Unavailable

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="is about the server that root starts")
CHILD = """
import sys, time
from pathlib import Path
from app.postgres import run_postgres
with run_postgres(Path(sys.argv[1])) as url:
    print(url, flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder as the first start leaves it; to make one for each test would take most of the time."""
    return prepare(tmp_path_factory.mktemp("template")).folder


@pytest.fixture
def data_dir(tmp_path: Path, template: Path) -> Path:
    """A DATA_DIR after its first start; behind pytest's own folder, which is closed to others."""
    return with_copy(template, tmp_path)


@pytest.fixture
def open_folder(template: Path) -> Iterator[Path]:
    """A DATA_DIR after its first start, in folders that every user may pass through."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield with_copy(template, Path(name))


def with_copy(template: Path, data_dir: Path) -> Path:
    owner = template.stat()
    shutil.copytree(template, data_dir / "postgres")
    give(data_dir / "postgres", owner.st_uid, owner.st_gid)
    return data_dir


def give(folder: Path, uid: int, gid: int) -> None:
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, uid, gid)


def one(url: str, query: str) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
    return str(row[0]) if row else ""


def postmaster(data_dir: Path) -> psutil.Process:
    return psutil.Process(int((data_dir / "postgres" / "postmaster.pid").read_text().split()[0]))


def gone(process: psutil.Process) -> bool:
    return not psutil.wait_procs([process], timeout=30)[1]


def test_it_is_durable_and_opens_no_port(data_dir: Path) -> None:
    with run_postgres(data_dir) as url:
        assert one(url, "SHOW server_version").startswith("18.")
        assert one(url, "SHOW fsync") == one(url, "SHOW synchronous_commit") == "on"
        assert one(url, "SHOW listen_addresses") == ""
        assert one(url, "SHOW server_encoding") == "UTF8"
        assert running(data_dir) == url
        assert not postmaster(data_dir).net_connections("inet")
    assert running(data_dir) is None


def test_what_was_committed_is_there_after_a_crash_of_the_server(data_dir: Path) -> None:
    with run_postgres(data_dir) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
        server = postmaster(data_dir)
        server.kill()
        assert gone(server)
    with run_postgres(data_dir) as url:
        assert one(url, "SELECT number FROM kept") == "7"


def test_the_server_ends_when_its_supervisor_is_killed(data_dir: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(data_dir)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline().startswith("postgresql:///")
        server = postmaster(data_dir)
        child.kill()
    assert gone(server)


def test_a_server_that_was_left_over_is_ended_by_the_next_start(data_dir: Path) -> None:
    cluster = prepare(data_dir)
    command = serve(cluster)
    options = command.options(subprocess.DEVNULL)
    options.pop("preexec_fn", None)
    argv = [word for word in command.full_argv if not word.startswith("--pdeathsig")]
    left = subprocess.Popen(argv, **options)
    while not answers(cluster):
        assert left.poll() is None
    with run_postgres(data_dir) as url:
        assert left.wait(1) == 0
        assert one(url, "SELECT 1") == "1"


def test_a_stale_pid_file_that_names_another_living_process_is_no_obstacle(data_dir: Path) -> None:
    stale = data_dir / "postgres" / "postmaster.pid"
    stale.write_text(f"{os.getpid()}\n{data_dir}/postgres\n0\n5432\n{data_dir}/postgres\n\n\nready\n")
    with run_postgres(data_dir) as url:
        assert one(url, "SELECT 1") == "1"


def test_an_interrupted_first_start_is_begun_again(tmp_path: Path) -> None:
    half_made = tmp_path / "postgres.new"
    half_made.mkdir()
    (half_made / "PG_VERSION").write_text("18\n")
    with run_postgres(tmp_path) as url:
        assert one(url, "SELECT 1") == "1"
    assert not half_made.exists()


@pytest.mark.parametrize("name", ["x" * 100, "a,b", "mit Umlaut ü"])
def test_a_folder_that_no_socket_can_lie_in_gets_a_private_one_elsewhere(
    tmp_path: Path, template: Path, name: str
) -> None:
    data_dir = tmp_path / name
    data_dir.mkdir()
    with_copy(template, data_dir)
    with run_postgres(data_dir) as url:
        assert one(url, "SELECT 1") == "1"
        assert running(data_dir) == url
        sockets = Path(one(url, "SHOW unix_socket_directories"))
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
    assert not sockets.exists()


def test_the_folder_of_another_major_version_is_refused(data_dir: Path) -> None:
    (data_dir / "postgres" / "PG_VERSION").write_text("17\n")
    with pytest.raises(Unavailable, match="written by PostgreSQL 17, and this is 18"):
        prepare(data_dir)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "letter.txt").write_text("mine")
    with pytest.raises(Unavailable, match="is not a data folder of PostgreSQL"):
        prepare(tmp_path)
    assert (tmp_path / "postgres" / "letter.txt").read_text() == "mine"


def test_a_server_that_cannot_start_says_why(data_dir: Path) -> None:
    (data_dir / "postgres" / "postgresql.conf").write_text("no_such_setting = 1\n")
    with pytest.raises(Unavailable, match="contains errors"), run_postgres(data_dir):
        pass


@ROOT_ONLY
def test_root_serves_as_another_user_behind_a_closed_folder_and_opens_it_to_nobody(open_folder: Path) -> None:
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    data_dir = closed / "data"
    data_dir.mkdir()
    (open_folder / "postgres").rename(data_dir / "postgres")
    with run_postgres(data_dir) as url:
        assert one(url, "SELECT 1") == "1"
        assert postmaster(data_dir).uids().effective != 0
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert closed.stat().st_uid == 0


@ROOT_ONLY
def test_root_without_the_capability_is_told_what_to_do_about_a_closed_folder(data_dir: Path) -> None:
    done = subprocess.run(
        ["setpriv", "--bounding-set=-dac_read_search", sys.executable, "-c", CHILD, str(data_dir)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "user 'nobody' may not enter" in done.stderr
    assert "run it as an ordinary user, or set DATABASE__URL" in done.stderr


@ROOT_ONLY
def test_where_everybody_may_pass_the_server_gets_no_capability(open_folder: Path) -> None:
    with run_postgres(open_folder):
        status = Path(f"/proc/{postmaster(open_folder).pid}/status").read_text()
    reaches_wheel = all(folder.stat().st_mode & 0o001 for folder in binary("postgres").parents)
    expected = "0000000000000000" if reaches_wheel else "0000000000000004"
    assert f"CapEff:\t{expected}" in status


@ROOT_ONLY
def test_an_ordinary_user_serves_as_themselves(open_folder: Path) -> None:
    user = pwd.getpwnam("games")
    data_dir = open_folder / "theirs"  # without a data folder: the user makes it
    data_dir.mkdir()
    os.chown(data_dir, user.pw_uid, user.pw_gid)
    # The capability lets them reach an interpreter in a closed folder; PostgreSQL sees an ordinary user all the same.
    account = Account(uid=user.pw_uid, gid=user.pw_gid, passes_walls=True)
    child = Command(
        argv=[sys.executable, "-c", CHILD, str(data_dir)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        account=account,
    ).start(subprocess.PIPE)
    assert child.stdout is not None
    with child.stdout:
        assert child.stdout.readline().startswith(b"postgresql:///")
        server = postmaster(data_dir)
        assert server.uids().effective == user.pw_uid
        assert (data_dir / "postgres").stat().st_uid == user.pw_uid
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert gone(server)


@ROOT_ONLY
def test_root_takes_over_the_folder_of_an_ordinary_user_as_that_user(open_folder: Path) -> None:
    user = pwd.getpwnam("games")
    give(open_folder / "postgres", user.pw_uid, user.pw_gid)
    with run_postgres(open_folder):
        assert postmaster(open_folder).uids().effective == user.pw_uid


def test_nothing_left_over_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    end_leftovers(tmp_path / "postgres")
