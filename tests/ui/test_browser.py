"""Journeys in a real browser: the first through the whole program, the others on the API that the tests share."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from playwright.async_api import FilePayload, Page, expect

from tests.conftest import Tenant
from tests.documents import FERRIES, LIGHTHOUSE, make_pdf
from tests.model_relay import Relay
from tests.program import Program

expect.set_options(timeout=60_000)

# The model of a small machine shared by several tests needs its time.
ANSWERED_MS = 240_000
PAGES = [
    "The Harbour Bridge was built between 1889 and 1894 by the engineer Ada Lindqvist.",
    "The city pays for the Harbour Bridge.\nThe Harbour Bridge is painted grey every seven years.\nIt has nine piers.",
]


async def sign_in(page: Page, ui: str, tenant: Tenant, path: str = "") -> None:
    await page.goto(f"{ui}/{path}")
    await page.get_by_label("API key").fill(tenant.key)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_label("API key")).to_have_count(0)


async def ask(page: Page, question: str) -> None:
    field = page.get_by_test_id("stChatInputTextArea")
    await expect(field).to_be_enabled()
    await field.fill(question)
    await field.press("Enter")


async def upload(page: Page, name: str, media_type: str, content: bytes) -> None:
    payload: FilePayload = {"name": name, "mimeType": media_type, "buffer": content}
    await page.locator("input[type=file]").set_input_files(payload)


@pytest.mark.timeout(600)  # a fresh machine fetches and requantises the model first
async def test_from_an_upload_to_a_cited_passage_and_back_after_a_reload(page: Page, platform: Program) -> None:
    await page.goto(platform.ui_url)
    await page.get_by_role("button", name="Add documents").click()
    await upload(page, "harbour-bridge.pdf", "application/pdf", make_pdf(PAGES))
    row = page.locator("[class*=st-key-document-]").filter(has_text="harbour-bridge.pdf")
    await expect(row.get_by_text("Ready")).to_be_visible()
    await expect(row).to_contain_text("2 pages")

    await page.get_by_role("link", name="Chat").click()
    question = "How often is the Harbour Bridge painted?"
    await ask(page, question)
    card = page.locator("[class*=st-key-card-]").first
    await expect(card).to_be_visible(timeout=ANSWERED_MS)
    await expect(card).to_contain_text("harbour-bridge.pdf")
    quote = await card.locator("blockquote").inner_text()
    assert quote in " ".join(PAGES).replace("\n", " ")

    await card.get_by_role("button", name="Open passage").click()
    drawer = page.get_by_role("dialog")
    picture = drawer.locator("img")
    await expect(picture).to_have_attribute("alt", re.compile(r"harbour-bridge\.pdf, with the quote highlighted"))
    assert await picture.evaluate("image => image.complete && image.naturalWidth > 500")
    await drawer.get_by_role("tab", name="Text").click()
    await expect(drawer.locator("mark")).to_have_text(quote)
    async with page.expect_download() as download:
        await drawer.get_by_role("button", name="Download the original").click()
    assert (await (await download.value).path()).read_bytes() == make_pdf(PAGES)
    await page.keyboard.press("Escape")
    await expect(drawer).to_have_count(0)

    answer = await page.locator("[class*=st-key-answer-]").inner_text()
    await page.reload()
    await expect(page.locator("[class*=st-key-answer-]")).to_have_text(answer)
    await expect(page.locator("[class*=st-key-card-]").first).to_contain_text(quote)
    await expect(page.get_by_test_id("stSidebar").get_by_role("button", name=question)).to_be_visible()


async def test_an_answer_goes_on_after_a_reload_and_can_be_stopped(
    page: Page, ui: str, tenant: Tenant, relay: Relay
) -> None:
    await tenant.upload("kerzenfels.md", LIGHTHOUSE.encode())
    await sign_in(page, ui, tenant)
    draft = page.locator(".st-key-draft-live")
    with relay.scripted("The lighthouse was built by Marta Olsund. " * 100, pause_s=0.05) as script:
        await ask(page, "Who built the lighthouse of Kerzenfels?")
        await expect(draft).to_contain_text("The lighthouse was built by")
        await expect(page.get_by_text("Searched the documents")).to_be_visible()

        address = page.url
        await sign_in(page, ui, tenant, address.removeprefix(f"{ui}/"))
        await expect(draft).to_contain_text("The lighthouse was built by")
        seen = len(await draft.inner_text())
        await expect(draft).to_have_text(re.compile(f".{{{seen + 20},}}"))

        await page.get_by_role("button", name="Stop").click()
        await expect(page.get_by_text("Stopped. What was written by then has not been checked.")).to_be_visible()
    assert len(script.requests) == 1
    thread_id = address.partition("thread=")[2]
    (run,) = await tenant.sdk.runs.list(thread_id)
    assert run["status"] == "interrupted"
    await expect(page.get_by_test_id("stChatInputTextArea")).to_be_enabled()


async def test_a_document_goes_into_a_new_collection_and_is_deleted(page: Page, ui: str, tenant: Tenant) -> None:
    await sign_in(page, ui, tenant, "documents")
    collection = page.get_by_role("combobox", name="To collection")
    await collection.fill("ships")
    await collection.press("Enter")
    await upload(page, "ferries.txt", "text/plain", FERRIES.encode())
    row = page.locator("[class*=st-key-document-]").filter(has_text="ferries.txt")
    await expect(row.get_by_text("Ready")).to_be_visible()
    await expect(row).to_contain_text("ships")
    await row.get_by_test_id("stPopoverButton").first.click()
    await page.get_by_role("button", name="Delete document").click()
    await expect(row).to_have_count(0)
    await expect(page.get_by_text("No documents yet.")).to_be_visible()
    assert (await tenant.http.get("/documents")).json()["documents"] == []


async def test_pages_fit_a_narrow_screen_and_load_nothing_from_elsewhere(page: Page, ui: str, tenant: Tenant) -> None:
    hosts: set[str | None] = set()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname))
    await page.set_viewport_size({"width": 400, "height": 800})
    await tenant.upload("a-document-with-quite-a-long-name-that-does-not-fit.md", LIGHTHOUSE.encode())
    for path, sight in (("documents", page.get_by_text("Ready")), ("", page.get_by_test_id("stChatInput"))):
        await sign_in(page, ui, tenant, path)
        await expect(sight).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") <= 400
    assert hosts - {None, ""} == {"127.0.0.1"}
