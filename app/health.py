"""The state of every part, as operators and the user interface see it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psycopg
from psycopg_pool import PoolTimeout

from app.schemas import Health, PartHealth, PartStatus
from app.services import Services
from core.domain import Scope, TenantId
from core.errors import PlatformError
from ingest.upkeep import measure

STATUS_DIR = "RAGSTONE_STATUS_DIR"
"""Where the supervisor and the model server tell what they do; set by the supervisor."""
PATIENCE_S = 2.0
NOBODY = TenantId(UUID(int=0))


async def health(services: Services) -> Health:
    """Ask every part; the whole is only as well as its worst part."""
    names = ("database", "index", "embedder", "worker", "chat_model")
    checks = (database(services), index(services), embedder(services), worker(services), chat_model(services))
    parts = dict(zip(names, await asyncio.gather(*checks), strict=True))
    record = read_status("supervisor.json").get("parts", {})
    for name, part in parts.items():
        part.restarts = int(record.get(name, {}).get("restarts", 0))
    for name, entry in record.items():
        if name not in parts and name != "api":
            status: PartStatus = "ready" if entry.get("status") in ("running", "ready") else "starting"
            detail = str(entry.get("last_exit") or "")
            parts[name] = PartHealth(status=status, detail=detail, restarts=int(entry.get("restarts", 0)))
    order: tuple[PartStatus, ...] = ("failed", "starting", "ready")
    # An API without a worker of its own answers questions all the same.
    counted = [part for name, part in parts.items() if name != "worker" or services.worker is not None]
    return Health(status=min((part.status for part in counted), key=order.index), parts=parts)


def read_status(name: str) -> Mapping[str, Any]:
    """A status file of the supervisor's; empty where there is none."""
    folder = os.environ.get(STATUS_DIR)
    if folder is None:
        return {}
    try:
        content = json.loads((Path(folder) / name).read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


async def database(services: Services) -> PartHealth:
    """PostgreSQL answers."""
    try:
        async with asyncio.timeout(PATIENCE_S), services.pool.connection() as connection:
            await connection.execute("SELECT 1")
    except (psycopg.Error, PoolTimeout, TimeoutError):
        return PartHealth(status="failed", detail="PostgreSQL does not answer.")
    return PartHealth(status="ready")


async def index(services: Services) -> PartHealth:
    """The vector index answers."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            await services.index.count(Scope(tenant=NOBODY))
    except (PlatformError, TimeoutError) as error:
        return PartHealth(status="failed", detail=str(error) or "The vector index does not answer.")
    return PartHealth(status="ready")


async def embedder(services: Services) -> PartHealth:
    """The embedder is loaded, or there would be no services."""
    return PartHealth(status="ready", detail=services.embedder.name)


async def worker(services: Services) -> PartHealth:
    """The ingestion worker of this process runs, or another one does; and how much work waits."""
    if services.worker is not None and services.worker.done():
        return PartHealth(status="failed", detail="The ingestion worker has stopped. Restart the API.")
    try:
        async with asyncio.timeout(PATIENCE_S):
            figures = await measure(services.pool)
    except (psycopg.Error, PoolTimeout, TimeoutError):
        return PartHealth(status="failed", detail="PostgreSQL does not answer.")
    if services.worker is None and not figures.workers:
        return PartHealth(status="failed", detail="No worker is alive. Start one: `python -m ingest worker`.")
    return PartHealth(status="ready", figures=asdict(figures))


async def chat_model(services: Services) -> PartHealth:
    """The chat server lists its models; while the embedded one is being prepared, its own words."""
    settings = services.settings.chat
    key = settings.api_key.get_secret_value() if settings.api_key else "none"
    try:
        async with httpx.AsyncClient(timeout=PATIENCE_S, trust_env=False) as client:
            address = f"{str(settings.base_url).rstrip('/')}/models"
            response = await client.get(address, headers={"Authorization": f"Bearer {key}"})
        if response.is_success:
            return PartHealth(status="ready", detail=settings.model)
        detail = f"The chat server answers with status {response.status_code}."
    except httpx.HTTPError:
        detail = "The chat server does not answer."
    said = read_status("chat.json")
    if said.get("status") in ("starting", "failed"):
        return PartHealth(status=said["status"], detail=str(said.get("detail", detail)))
    return PartHealth(status="starting" if said else "failed", detail=detail)
