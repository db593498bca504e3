"""The parts that the supervisor runs as child processes: how each is started, probed and ended."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from app.cluster import Cluster
from app.postgres import answers, serve
from app.processes import Command
from core.settings import Settings, variables

ROOT = Path(__file__).resolve().parent.parent
GRACE_S = 10.0

Probe = Callable[[], Awaitable[str | None]]
"""Asks a part whether it is ready: None, or what it waits for ('' when it does not say)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A child process. It is ended by each signal of ``ending`` in turn, until its seconds suffice.

    ``abrupt`` is what ends it at once; ``before`` blocks, and runs before each start.
    """

    name: str
    title: str
    command: Command
    probe: Probe
    ending: Sequence[tuple[signal.Signals, float]] = ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, 5.0))
    abrupt: signal.Signals = signal.SIGKILL
    before: Callable[[], None] | None = None


def database_part(cluster: Cluster) -> Part:
    """PostgreSQL on the cluster."""

    async def probe() -> str | None:
        return None if await asyncio.to_thread(answers, cluster) else ""

    return Part(
        name="database",
        title="PostgreSQL",
        command=serve(cluster),
        probe=probe,
        ending=((signal.SIGINT, 30.0), (signal.SIGQUIT, 6.0), (signal.SIGKILL, 5.0)),
        abrupt=signal.SIGQUIT,
        before=cluster.clear,
    )


def chat_part(settings: Settings, port: int, status_file: Path) -> Part:
    """The server of the embedded chat model on a loopback `port`."""
    chat = settings.chat
    words: dict[str, Any] = {
        "model": chat.model,
        "models-dir": settings.models_path,
        "port": port,
        "threads": chat.threads,
        "slots": chat.slots,
        "context": chat.context,
        "status-file": status_file,
    }
    pairs = [word for name, value in words.items() if value is not None for word in (f"--{name}", str(value))]
    answers_at = http_probe(f"http://127.0.0.1:{port}/health")

    async def probe() -> str | None:
        waits_for = await answers_at()
        return None if waits_for is None else read_detail(status_file)

    return Part(
        name="chat_model",
        title="Chat model",
        command=Command(argv=[sys.executable, "-m", "models.serving", "serve", *pairs], env=bare_environment()),
        probe=probe,
    )


def api_part(settings: Settings) -> Part:
    """The REST API, told where the other parts are."""
    told = {
        "DATA_DIR": str(settings.data_dir),
        "DATABASE__URL": str(settings.database.url),
        "CHAT__BASE_URL": str(settings.chat.base_url),
        "RAGSTONE_STATUS_DIR": str(settings.data_dir / "run"),
    }
    return Part(
        name="api",
        title="API",
        command=Command(argv=[sys.executable, "-m", "app", "api"], env=environment() | told),
        probe=http_probe(f"{address(settings.api.host, settings.api.port)}/health/ready"),
    )


def ui_part(settings: Settings, key: str) -> Part:
    """The user interface; the key is in its environment alone, where other users cannot read it."""
    options = {
        "server.port": settings.ui.port,
        "server.address": settings.ui.host,
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "server.maxUploadSize": settings.api.max_upload_mb,
        "browser.gatherUsageStats": "false",
    }
    pairs = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    told = {"RAGSTONE_API_URL": address(settings.api.host, settings.api.port), "RAGSTONE_API_KEY": key}
    return Part(
        name="ui",
        title="User interface",
        command=Command(
            argv=[sys.executable, "-m", "streamlit", "run", str(ROOT / "ui" / "main.py"), *pairs],
            env=bare_environment() | told,
            cwd=ROOT,
        ),
        probe=http_probe(f"{address(settings.ui.host, settings.ui.port)}/_stcore/health"),
    )


def address(host: str, port: int) -> str:
    """The URL at which this machine reaches what listens on `host`."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - nothing listens here
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def environment() -> dict[str, str]:
    """The environment of a child that reads the settings: this one, with our packages to import."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def bare_environment() -> dict[str, str]:
    """The environment of a child that reads no settings: without them, and so without their secrets."""
    ours = variables()
    return {name: value for name, value in environment().items() if name.upper() not in ours}


def http_probe(url: str) -> Probe:
    """Ready when `url` answers 200; what is missing is read from the parts of a health answer."""

    no_certificates = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    async def probe() -> str | None:
        try:
            # Without the environment's proxies, and without reading certificates, which takes longer than the rest.
            async with httpx.AsyncClient(trust_env=False, verify=no_certificates, timeout=5) as client:
                response = await client.get(url)
        except httpx.HTTPError:
            return ""
        return None if response.status_code == httpx.codes.OK else missing(response.content)

    return probe


def missing(body: bytes) -> str:
    """The parts of a health answer that are not ready, for a line in the terminal."""
    try:
        parts: Mapping[str, Mapping[str, str]] = json.loads(body)["parts"]
        waits = {name: part.get("detail", "") for name, part in parts.items() if part["status"] != "ready"}
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    return "waits for " + "; ".join(f"{name} ({why})" if why else name for name, why in waits.items()) if waits else ""


def read_detail(status_file: Path) -> str:
    """What the chat model's server is doing before it answers; '' when it has not said."""
    try:
        return str(json.loads(status_file.read_text("utf-8")).get("detail", ""))
    except (OSError, ValueError, AttributeError):
        return ""
