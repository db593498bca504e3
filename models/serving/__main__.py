"""``python -m models.serving serve|fetch|list``: the embedded chat model's server, and its model files."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from core.errors import PlatformError
from models.catalog import Catalog, read_catalog
from models.serving.fetch import prepare
from models.serving.parent import die_with
from models.serving.progress import Progress
from models.serving.server import ServerOptions, check_port, start

STOP = {signal.SIGTERM, signal.SIGINT}


def main() -> int:
    """Run one command; 0 when it was done or stopped, 1 after one line on stderr that says what is wrong."""
    parent = os.getppid()
    arguments = _parser().parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("models").setLevel(logging.INFO)
    progress = Progress(getattr(arguments, "status_file", None))
    _stop_on_signal()
    try:
        catalog = read_catalog()
        if arguments.command == "list":
            _list(catalog)
        elif arguments.command == "fetch":
            print(prepare(catalog.entry(arguments.model or catalog.default), arguments.models_dir, progress))
        else:
            die_with(arguments.parent or parent)
            _serve(arguments, catalog, progress)
    except PlatformError as error:
        return _fail(error, progress)
    return 0


def _stop_on_signal() -> None:
    """End the process at a signal, whatever it is doing.

    A Python signal handler would wait until llama.cpp's loading, minutes perhaps, returns to Python. Nothing has to
    be put in order: downloads are resumed, files appear whole, and the kernel frees locks and kills pip.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP)

    def wait() -> None:
        signal.sigwait(STOP)
        os._exit(0)

    threading.Thread(target=wait, name="signals", daemon=True).start()


def _serve(arguments: argparse.Namespace, catalog: Catalog, progress: Progress) -> None:
    check_port(arguments.host, arguments.port)
    entry = catalog.entry(arguments.model or catalog.default)
    path = prepare(entry, arguments.models_dir, progress)
    progress.say("loading")
    options = ServerOptions(
        name=entry.name,
        path=path,
        host=arguments.host,
        port=arguments.port,
        threads=arguments.threads,
        slots=arguments.slots,
        context=min(arguments.context, entry.context),
    )
    server, url = start(options)
    progress.ready(f"serving {entry.name}", url)
    threading.Event().wait()
    del server


def _list(catalog: Catalog) -> None:
    for entry in catalog.models:
        mark = " (default)" if entry.name == catalog.default else ""
        print(f"{entry.name}{mark}: {entry.size // 10**6} MB, {entry.licence}, from {entry.base}")


def _fail(error: PlatformError, progress: Progress) -> int:
    try:
        progress.failed(str(error))
    except PlatformError as worse:
        print(worse, file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m models.serving", description="The embedded chat model.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the models of the catalog")
    fetch = commands.add_parser("fetch", help="download and requantise a model")
    serve = commands.add_parser("serve", help="serve a model over the OpenAI API; download it first when needed")
    for command in (fetch, serve):
        command.add_argument("--model", help="name in the catalog; the default one when left out")
        command.add_argument("--models-dir", type=Path, required=True, help="where model files are kept")
        command.add_argument("--status-file", type=Path, help="JSON file that says how far the start is")
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, required=True, help="0 for any free one; the status file names it")
    serve.add_argument("--threads", type=_positive, help="all cores when left out")
    serve.add_argument("--slots", type=_positive, default=2, help="requests worked on at once")
    serve.add_argument("--context", type=_positive, default=4096, help="tokens of one slot")
    serve.add_argument("--parent", type=int, help="process to end with; the one that starts this when left out")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
