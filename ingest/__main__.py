"""The command line of the write path: ``python -m ingest --help`` lists the commands."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable

from core.errors import PlatformError
from core.settings import read_settings
from ingest.commands import add as adding
from ingest.commands import reconcile, reembed


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
    root = argparse.ArgumentParser(prog="python -m ingest", description="Ragstone's write path")
    commands = root.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, command: Callable[[argparse.Namespace], int | None], text: str) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
        added.set_defaults(command=command)
        return added

    adding.configure(add("add", adding.run, adding.TEXT))
    add("worker", worker, "work on jobs until SIGTERM; as many processes and hosts as wanted; wants DATABASE__URL")
    reembed.configure(add("reembed", reembed.run, reembed.TEXT))
    reconcile.configure(add("reconcile", reconcile.run, reconcile.TEXT))
    return root


def worker(_options: argparse.Namespace) -> None:
    """Read, chunk and embed what waits."""
    from core.telemetry import configure_logging
    from ingest.worker import serve

    settings = read_settings()
    configure_logging(settings.log)
    asyncio.run(serve(settings))


if __name__ == "__main__":
    sys.exit(main())
