"""``python -m ingest reembed``: have a running Ragstone make a collection anew, and follow it."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import Any
from urllib.parse import quote

from tqdm import tqdm

from core.errors import Conflict, InvalidInput
from ingest.client import KEY, URL, Client, Json, open_client
from ingest.commands.report import say

TEXT = "make a collection of a running Ragstone anew for the running embedder; search goes on meanwhile"
POLL_S = 0.5


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("collection", metavar="COLLECTION")
    parser.add_argument("--embedder", metavar="MODEL", help="another model than EMBEDDING__MODEL")
    parser.add_argument("--revision", help="of a hub model")
    parser.add_argument("--chunker", metavar="JSON", help="how documents are cut from now on")
    parser.add_argument(
        "--leave-out-refused",
        action="store_true",
        help="have search do without the documents that the last change could not make anew; they are named",
    )
    parser.add_argument("--no-wait", action="store_true", help="do not wait until it is done")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument("--url", help=f"address of Ragstone; default: {URL}, or this machine")
    parser.epilog = f"The key is taken from the environment variable {KEY}."


def run(options: argparse.Namespace) -> int:
    """Carry the command out; what is interrupted here goes on at the worker."""
    wanted = {"embedder": options.embedder, "revision": options.revision, "chunker": read_chunker(options.chunker)}
    asyncio.run(_run(options, {name: value for name, value in wanted.items() if value is not None}))
    return 0


async def _run(options: argparse.Namespace, wanted: dict[str, Any]) -> None:
    path = f"/collections/{quote(options.collection, safe='')}"
    async with open_client(options.url) as client:
        if options.leave_out_refused:
            wanted["leave_out"] = refused_by_last(await client.ask("GET", path))
        collection = await client.ask("POST", f"{path}/reembed", json=wanted)
        if options.no_wait:
            return
        await tell_of_worker(client)
        with tqdm(unit=" documents", disable=options.quiet) as bar:
            while (rebuild := collection["rebuild"])["status"] not in ("done", "failed"):
                bar.total, bar.n = rebuild["total"] or None, rebuild["done"]
                bar.refresh()
                await asyncio.sleep(POLL_S)
                collection = await client.ask("GET", path)
            bar.total, bar.n = rebuild["total"], rebuild["done"]
    if rebuild["status"] == "failed":
        raise Conflict(rebuild["error"] or "The collection could not be made anew.")
    say([_summary(collection)])
    say(f"left out: {told(refused)}" for refused in rebuild["refused"])


def refused_by_last(collection: Json) -> list[str]:
    """The ids of the documents that the last change of a collection could not make anew, after naming them.

    Raises:
        InvalidInput: there are none.
    """
    rebuild = collection["rebuild"]
    if rebuild is None or rebuild["status"] != "failed" or not rebuild["refused"]:
        raise InvalidInput(
            f"No change of collection {collection['name']!r} has failed because of its documents. Ask without "
            "--leave-out-refused."
        )
    say(f"to be left out, if it still cannot be made anew: {told(refused)}" for refused in rebuild["refused"])
    return [refused["document_id"] for refused in rebuild["refused"]]


def told(refused: Json) -> str:
    """A refused document with its reason."""
    return f"{refused['name']} ({refused['document_id']}): {refused['error']}"


async def tell_of_worker(client: Client) -> None:
    """Say so when nobody is there to do the work."""
    worker = (await client.health())["parts"].get("worker", {})
    if worker.get("status") == "failed":
        print(worker["detail"], file=sys.stderr)  # noqa: T201


def read_chunker(text: str | None) -> Any:
    """A chunker's spec from JSON.

    Raises:
        InvalidInput: it is none.
    """
    try:
        return None if text is None else json.loads(text)
    except ValueError as error:
        raise InvalidInput(
            f'--chunker takes a spec as JSON, such as \'{{"strategy": "structure", "tokens": 160}}\': {error}'
        ) from error


def _summary(collection: Json) -> str:
    return (
        f"Collection {collection['name']!r}: {collection['rebuild']['total']} documents made anew with "
        f"{collection['embedder']!r} ({collection['dimension']} dimensions) and {collection['chunker_stamp']!r}."
    )
