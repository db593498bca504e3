"""``python -m ingest add``: bring files, web pages and S3 prefixes to a running Ragstone, over its API."""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from core.errors import InvalidInput
from ingest.client import KEY, URL, Client, open_client
from ingest.commands.remote import Remote
from ingest.commands.report import Outcome, plan_lines, say, summary_lines
from ingest.commands.upload import QUIET_S, Progress, Upload, Wish
from ingest.sources.plan import Rules
from ingest.sources.watch import changes

TEXT = "add files and folders of this machine, web pages, sitemaps and S3 prefixes to a running Ragstone"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("places", nargs="+", metavar="PATH|URL", help="a file, a folder, https://…, s3://…")
    parser.add_argument("--collection", default="default", metavar="NAME")
    parser.add_argument("--metadata", action="append", default=[], metavar="KEY=VALUE", help="kept with each document")
    parser.add_argument("--include", action="append", default=[], metavar="GLOB", help="take only what fits")
    parser.add_argument("--exclude", action="append", default=[], metavar="GLOB", help="leave out what fits")
    parser.add_argument(
        "--hidden", action="store_true", help="also take files and folders whose name begins with a dot"
    )
    parser.add_argument("--mirror", action="store_true", help="delete documents whose file or page is gone")
    parser.add_argument("--watch", action="store_true", help="go on, and add what changes in the folders")
    parser.add_argument("--every", type=int, metavar="SECONDS", help="have Ragstone look again at an address by itself")
    parser.add_argument("--sitemap", action="store_true", help="the addresses are sitemaps: take the pages they list")
    parser.add_argument("--dry-run", action="store_true", help="only show what would be done")
    parser.add_argument("--no-wait", action="store_true", help="do not wait until the documents are read")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    parser.add_argument("--url", help=f"address of Ragstone; default: {URL}, or this machine")
    parser.epilog = f"The key is taken from the environment variable {KEY}."


def run(options: argparse.Namespace) -> int:
    """Carry the command out; 1 when something failed."""
    return asyncio.run(_run(options))


async def _run(options: argparse.Namespace) -> int:
    remote = [place for place in options.places if "://" in place]
    local = [Path(place) for place in options.places if "://" not in place]
    if missing := [str(path) for path in local if not path.exists()]:
        raise InvalidInput(f"There is no file or folder {missing[0]!r}.")
    if options.watch and (remote or not local):
        raise InvalidInput("--watch is for folders of this machine; for addresses give --every SECONDS.")
    wish = Wish(
        collection=options.collection,
        metadata=read_metadata(options.metadata),
        rules=Rules(include=tuple(options.include), exclude=tuple(options.exclude), hidden=options.hidden),
        mirror=options.mirror,
        host=socket.gethostname(),
    )
    outcome = Outcome()
    async with open_client(options.url) as client:
        started = time.monotonic()
        uploads = [Upload(client, path, wish) for path in local]
        await _bring(client, uploads, outcome, options)
        for address in remote:
            await Remote(client, address, wish, sitemap=options.sitemap, every=options.every).bring(outcome, options)
        outcome.seconds = time.monotonic() - started
        if options.dry_run:
            return 0
        say(summary_lines(outcome))
        if options.watch:
            await asyncio.gather(*(_watch(client, upload) for upload in uploads))
    return 1 if outcome.failed else 0


async def _bring(client: Client, uploads: Sequence[Upload], outcome: Outcome, options: argparse.Namespace) -> None:
    names: dict[str, str] = {}
    for upload in uploads:
        steps = await upload.plan()
        if options.dry_run:
            say(plan_lines(steps))
            continue
        names |= await upload.carry_out(steps, outcome, quiet=options.quiet)
    if names and not options.no_wait:
        await Progress(client, quiet=options.quiet).wait(names, outcome)


async def _watch(client: Client, upload: Upload) -> None:
    """Look again after each burst of changes; a file that is still being written is left for the next look."""
    begun = False
    async for _ in changes(upload.root):
        if not begun:
            say([f"Watching {upload.root}; Ctrl-C ends it."])
            begun = True
        late: set[str] = {""}
        while late:
            outcome, started = Outcome(), time.monotonic()
            steps = await upload.plan()
            late = upload.unfinished(steps)
            ready = [step for step in steps if step.id not in late]
            names = await upload.carry_out(ready, outcome, quiet=True)
            await Progress(client, quiet=True).wait(names, outcome)
            outcome.seconds = time.monotonic() - started
            if outcome.counts.keys() - {"unchanged", "skipped"} or outcome.failed:
                say(summary_lines(outcome))
            if late:
                await asyncio.sleep(QUIET_S)


def read_metadata(pairs: Iterable[str]) -> dict[str, Any]:
    """``KEY=VALUE`` pairs; a value that is a JSON number, list or boolean is one, everything else is text.

    Raises:
        InvalidInput: one of them has no ``=`` or no key.
    """
    metadata: dict[str, Any] = {}
    for pair in pairs:
        key, mark, value = pair.partition("=")
        if not mark or not key.strip():
            raise InvalidInput(f"--metadata wants KEY=VALUE, for example --metadata team=law, and not {pair!r}.")
        try:
            read = json.loads(value)
        except ValueError:
            read = value
        metadata[key.strip()] = value if isinstance(read, dict) or read is None else read
    return metadata
