"""``python -m ingest reconcile``: have a running Ragstone compare what it stores, and show what it finds."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterable

from core.errors import PlatformError
from ingest.client import KEY, URL, Json, open_client
from ingest.commands.reembed import tell_of_worker
from ingest.commands.report import say

TEXT = "compare PostgreSQL, the vector indexes and the original files of a running Ragstone"
POLL_S = 0.5
LASTING = ("missing_files", "stuck_deletions", "lost_embedders")
"""What no repair puts right: bytes that are gone, erasures that failed, points of an embedder that is gone."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--repair", action="store_true", help="put right what can be")
    parser.add_argument("--url", help=f"address of Ragstone; default: {URL}, or this machine")
    parser.epilog = f"The key, an administrator's, is taken from the environment variable {KEY}."


def run(options: argparse.Namespace) -> int:
    """Carry the command out; 1 when something does not agree and was not put right."""
    report = asyncio.run(_run(options))
    findings = report["findings"]
    say(_lines(report))
    return int(any(findings[name] for name in (LASTING if options.repair else findings)))


async def _run(options: argparse.Namespace) -> Json:
    async with open_client(options.url) as client:
        report = await client.ask("POST", "/reconcile", json={"repair": options.repair})
        await tell_of_worker(client)
        while report["status"] == "waiting":
            await asyncio.sleep(POLL_S)
            listed = await client.ask("GET", "/reconcile")
            report = next((each for each in listed["reconciliations"] if each["id"] == report["id"]), report)
    if report["status"] == "failed":
        raise PlatformError(f"The comparison failed: {report['error']}")
    return dict(report)


def _lines(report: Json) -> Iterable[str]:
    found = {name: number for name, number in report["findings"].items() if number}
    if not found:
        yield "Everything agrees."
        return
    yield "Found and put right as far as possible:" if report["repair"] else "Found:"
    width = max(map(len, found))
    for name, number in found.items():
        yield f"{name:<{width}}  {number:>7,}"
    if report["documents"]:
        yield f"documents of yours, the first ones: {', '.join(report['documents'])}"
    if not report["repair"]:
        yield "Put right what can be with --repair."
