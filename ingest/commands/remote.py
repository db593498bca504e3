"""Addresses that the server takes documents from: made its sources, and watched until what they hold is indexed."""

from __future__ import annotations

import argparse
import asyncio

from tqdm import tqdm

from core.errors import InvalidInput
from ingest.client import Client, Json
from ingest.commands.report import Outcome, plan_lines, say
from ingest.commands.upload import Wish
from ingest.sources.plan import Action, Step

POLL_S = 0.5
BUSY = ("queued", "loading", "chunking", "embedding")


class Remote:
    """One address as a source of the server."""

    def __init__(self, client: Client, address: str, wish: Wish, *, sitemap: bool, every: int | None) -> None:
        self._client = client
        self._address = address
        self._body = {
            "kind": kind_of(address, sitemap=sitemap),
            "address": address,
            "collection": wish.collection,
            "metadata": dict(wish.metadata),
            "include": list(wish.rules.include),
            "exclude": list(wish.rules.exclude),
            "mirror": wish.mirror,
            "interval_s": every,
        }

    async def bring(self, outcome: Outcome, options: argparse.Namespace) -> None:
        """Have the server look at the address now, and wait for what it finds there."""
        if options.dry_run:
            plan = await self._client.ask("POST", "/sources/plan", json=self._body)
            steps = [Step(id=step["path"], **{**step, "action": Action(step["action"])}) for step in plan["steps"]]
            say(plan_lines(steps, {Action(name): number for name, number in plan["counts"].items()}))
            return
        source = await self._client.ask("POST", "/sources", json=self._body)
        with tqdm(unit="file", desc=self._address, disable=options.quiet) as bar:
            while True:
                source = await self._client.ask("GET", f"/sources/{source['id']}")
                documents = source["documents"]
                bar.total = sum(documents.values()) or None
                bar.n = documents.get("indexed", 0) + documents.get("failed", 0)
                bar.refresh()
                waiting = sum(documents.get(status, 0) for status in BUSY)
                if source["status"] in ("idle", "failed") and (options.no_wait or not waiting):
                    break
                await asyncio.sleep(POLL_S)
        self._count(source, outcome)

    def _count(self, source: Json, outcome: Outcome) -> None:
        for word, number in source["counts"].items():
            if word != "failed":
                outcome.add(word, number)
        outcome.failed |= {failure["path"]: failure["error"] for failure in source["failures"]}
        if source["error"]:
            outcome.failed[self._address] = source["error"]


def kind_of(address: str, *, sitemap: bool) -> str:
    """The kind of source that an address is.

    Raises:
        InvalidInput: ``sitemap`` is said of an address that is not one of the web.
    """
    web = address.startswith(("http://", "https://"))
    if sitemap and not web:
        raise InvalidInput(f"--sitemap is for https:// addresses, and not for {address!r}.")
    if not web:
        return "prefix"
    page = address.partition("?")[0].lower()
    return "sitemap" if sitemap or page.endswith(("sitemap.xml", "sitemap.xml.gz", "sitemap_index.xml")) else "web"
