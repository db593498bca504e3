"""The command line: ``python -m app`` runs everything, ``python -m app --help`` lists the rest."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from core.database import Pool
from core.domain import Role
from core.errors import PlatformError, Unavailable
from core.settings import DatabaseSettings, Settings, read_settings

T = TypeVar("T")
ROOT = Path(__file__).resolve().parent.parent


def main(arguments: list[str] | None = None) -> int:
    """Carry out one command; its exit status. Errors with an explanation are told without a traceback."""
    options = parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int | None] = options.command
    try:
        return command(options) or 0
    except PlatformError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """The commands and their arguments."""
    root = argparse.ArgumentParser(prog="python -m app", description="Ragstone")
    root.set_defaults(command=run)
    commands = root.add_subparsers(title="commands", metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace], int | None], text: str) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
        added.set_defaults(command=command)
        return added

    add("run", run, "start every part and keep it running (the default)")
    add("api", api, "serve the REST API alone; wants DATABASE__URL and CHAT__BASE_URL")
    add("worker", worker, "execute runs until SIGTERM, without the API; as many processes as wanted")
    add("migrate", migrate, "bring the database to this version")
    keys = add("keys", keys_list, "list the API keys, create one or revoke one").add_subparsers(metavar="ACTION")
    keys.add_parser("list", help="list all keys (the default)")
    create = keys.add_parser("create", help="make a key and show it once")
    create.add_argument("name", metavar="NAME")
    create.add_argument("--role", type=Role, choices=list(Role), default=Role.MEMBER, help="default: member")
    create.set_defaults(command=keys_create)
    revoke = keys.add_parser("revoke", help="make a key invalid")
    revoke.add_argument("name", metavar="NAME")
    revoke.set_defaults(command=keys_revoke)
    pages = add("reference", reference, "write the pages that are generated from the settings")
    pages.add_argument("--check", action="store_true", help="only see whether they are up to date")
    return root


def run(_options: argparse.Namespace) -> int:
    """Start every part under the supervisor."""
    from app.supervisor import supervise

    return supervise(read_settings(), say)


def api(_options: argparse.Namespace) -> None:
    """Serve the REST API."""
    from app.main import main as serve_api

    serve_api(read_settings())


def worker(_options: argparse.Namespace) -> None:
    """Execute runs that other processes admit."""
    from app.worker import main as work

    work(read_settings())


def migrate(_options: argparse.Namespace) -> None:
    """Bring every table into being: ours, the job engine's and the checkpointer's."""
    from app.services import prepare_database

    names = asyncio.run(with_pool(read_settings(), prepare_database))
    print("\n".join(f"Applied {name}" for name in names) or "The database is up to date.")


def keys_list(_options: argparse.Namespace) -> None:
    """Show every key's name, role and dates."""
    from app.keys import list_keys

    for key in asyncio.run(with_pool(read_settings(), list_keys)):
        end = f"revoked {key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else "valid"
        print(f"{key.name:<24} {key.role.value:<14} created {key.created_at:%Y-%m-%d %H:%M}  {end}")


def keys_create(options: argparse.Namespace) -> None:
    """Make a key and print it."""
    from app.keys import create_key

    print(asyncio.run(with_pool(read_settings(), lambda pool: create_key(pool, options.name, options.role))))


def keys_revoke(options: argparse.Namespace) -> None:
    """Make a key invalid."""
    from app.keys import revoke_key

    asyncio.run(with_pool(read_settings(), lambda pool: revoke_key(pool, options.name)))
    print(f"Revoked {options.name}")


def reference(options: argparse.Namespace) -> None:
    """Write the generated pages, or check them."""
    from app.reference import check_reference, write_reference

    if options.check:
        check_reference(ROOT)
    else:
        print("\n".join(f"Wrote {name}" for name in write_reference(ROOT)) or "Everything is up to date.")


async def with_pool(settings: Settings, task: Callable[[Pool], Awaitable[T]]) -> T:
    """Do `task` on the configured database, or on the embedded one of a running Ragstone."""
    from pydantic_core import Url

    from app.postgres import running
    from core.database import open_pool

    url = settings.database.url
    if url is None:
        found = running(settings.data_dir)
        if found is None:
            raise Unavailable(
                f"No database runs on {settings.data_dir.absolute()}: start Ragstone (`make run`) in another "
                "terminal, or set DATABASE__URL."
            )
        url = Url(found)
    async with open_pool(DatabaseSettings(url=url, pool_min=1)) as pool:
        return await task(pool)


def say(line: str) -> None:
    """Print a line; when the terminal was closed, be quiet from then on."""
    try:
        print(line, flush=True)
    except OSError:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the process ends


if __name__ == "__main__":
    sys.exit(main())
