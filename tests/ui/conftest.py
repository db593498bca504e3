"""The user interface on the tests' API: its script in this process, or served and seen in a browser."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Browser, Page, async_playwright
from streamlit.testing.v1 import AppTest

from tests.conftest import Tenant

ROOT = Path(__file__).resolve().parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

Run = Callable[[AppTest], Awaitable[AppTest]]


@pytest.fixture
def run() -> Run:
    """Run a page's script beside the event loop that the API lives in; what it does not catch fails the test."""

    async def run_page(page: AppTest) -> AppTest:
        await asyncio.to_thread(page.run, timeout=60)
        assert not page.exception
        return page

    return run_page


@pytest.fixture
def app(api: str, tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """The whole user interface with the tenant's key, not yet run."""
    monkeypatch.setenv("RAGSTONE_API_URL", api)
    monkeypatch.setenv("RAGSTONE_API_KEY", tenant.key)
    return AppTest.from_file(str(ROOT / "ui" / "main.py"))


@pytest.fixture(scope="session")
async def ui(api: str) -> AsyncIterator[str]:
    """The address of the user interface, served without a key of its own."""
    options = ["--server.port=0", "--server.address=127.0.0.1", "--browser.gatherUsageStats=false"]
    environment = {name: value for name, value in os.environ.items() if name != "RAGSTONE_API_KEY"}
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "streamlit", "run", "ui/main.py", *options],
        cwd=ROOT,
        env=environment | {"PYTHONPATH": str(ROOT), "RAGSTONE_API_URL": api},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield await asyncio.wait_for(_address(process), 60)
    finally:
        process.terminate()
        await process.communicate()


async def _address(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async for line in process.stdout:
        if b"URL: http" in line:
            url = line.decode().partition("URL:")[2].strip()
            async with httpx.AsyncClient() as client:
                while not (await client.get(f"{url}/_stcore/health")).is_success:
                    await asyncio.sleep(0.1)
            return url
    raise AssertionError("streamlit ended before it served the user interface")


@pytest.fixture(scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """A browser without a window."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        message = "needs Chromium: `apt-get install chromium`, or `.ci/run`, which installs it"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=found, args=list(QUIET))
        yield browser
        await browser.close()


@pytest.fixture
async def page(chromium: Browser) -> AsyncIterator[Page]:
    """A tab of a fresh browser profile; a script error on the page fails the test."""
    context = await chromium.new_context(viewport={"width": 1280, "height": 860})
    page = await context.new_page()
    page.set_default_timeout(60_000)
    failures: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    yield page
    await context.close()
    assert failures == []
