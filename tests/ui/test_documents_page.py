from __future__ import annotations

import asyncio
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from tests import pdf
from tests.conftest import Tenant
from tests.documents import FERRIES, LIGHTHOUSE, make_pdf, page_of, wait_until_done
from tests.ui.conftest import Run
from ui.client import Api
from ui.wording import STRATEGY_WORDS


@pytest.fixture
def documents(api: str, tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """The Documents page with the tenant's key, not yet run."""
    monkeypatch.setenv("RAGSTONE_API_URL", api)
    monkeypatch.setenv("RAGSTONE_API_KEY", tenant.key)
    return AppTest.from_function(script)


def script() -> None:
    from ui import panels, session
    from ui.views import documents

    with panels.whole_page(session.api()):
        documents.page()


def texts(page: AppTest) -> str:
    elements = [*page.markdown, *page.caption, *page.success, *page.error, *page.warning]
    return "\n".join(str(element.value) for element in elements).replace("\\", "")


async def listed(tenant: Tenant) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await tenant.http.get("/documents")).json()["documents"]
    return found


async def test_an_empty_list_says_what_to_do(documents: AppTest, run: Run) -> None:
    await run(documents)
    assert "**No documents yet.** Drop files on the field above." in texts(documents)


async def test_dropped_files_are_sent_and_listed(documents: AppTest, run: Run, tenant: Tenant) -> None:
    await run(documents)
    documents.file_uploader[0].set_value(
        [
            ("ferries.txt", FERRIES.encode(), "text/plain"),
            ("kerzenfels.pdf", make_pdf([LIGHTHOUSE]), "application/pdf"),
        ]
    )
    await run(documents)
    assert "2 documents taken in." in texts(documents)
    found = await listed(tenant)
    assert sorted(document["name"] for document in found) == ["ferries.txt", "kerzenfels.pdf"]
    for document in found:
        await wait_until_done(tenant.http, document["id"])
    await run(documents)
    assert texts(documents).count(":green-badge[:material/check_circle: Ready]") == 2
    assert "1 page · " in texts(documents)


async def test_a_collection_that_is_there_is_not_asked_how_it_is_divided(documents: AppTest, run: Run) -> None:
    await run(documents)
    assert "upload-strategy" not in [box.key for box in documents.selectbox]


async def test_the_name_of_a_new_collection_opens_the_choice_of_a_strategy(documents: AppTest, run: Run) -> None:
    documents.session_state["upload-collection"] = "contracts"
    await run(documents)
    assert documents.selectbox(key="upload-strategy").options == list(STRATEGY_WORDS.values())


async def test_a_collection_is_made_with_the_strategy_that_was_chosen(api: str, tenant: Tenant) -> None:
    client = Api(api, tenant.key)
    await asyncio.to_thread(client.create_collection, "contracts", "sentences")
    await asyncio.to_thread(client.create_collection, "letters")
    client._http.close()
    made = (await tenant.http.get("/collections")).json()["collections"]
    strategies = {one["name"]: one["chunker"]["strategy"] for one in made}
    assert (strategies["contracts"], strategies["letters"]) == ("sentences", strategies["default"])


async def test_a_file_that_is_not_taken_does_not_stop_the_others(documents: AppTest, run: Run, tenant: Tenant) -> None:
    await run(documents)
    documents.file_uploader[0].set_value(
        [("broken.pdf", b"plain words", "application/pdf"), ("ferries.txt", FERRIES.encode(), "text/plain")]
    )
    await run(documents)
    assert "1 document taken in." in texts(documents)
    assert "**broken.pdf** was not taken. 'broken.pdf' is not a PDF" in texts(documents)
    assert [document["name"] for document in await listed(tenant)] == ["ferries.txt"]


async def test_a_file_that_is_there_already_is_said_so(documents: AppTest, run: Run, tenant: Tenant) -> None:
    await tenant.upload("ferries.txt", FERRIES.encode())
    await run(documents)
    documents.file_uploader[0].set_value([("again.txt", FERRIES.encode(), "text/plain")])
    await run(documents)
    assert "Already there with the same content, so nothing to do: “again.txt”." in texts(documents)


async def test_a_failed_document_says_why_and_can_be_retried(documents: AppTest, run: Run, tenant: Tenant) -> None:
    failed = await tenant.upload("empty.pdf", make_pdf([""]))
    assert failed["status"] == "failed"
    await run(documents)
    assert str(failed["error"]).replace("\\", "") in texts(documents)
    documents.button(key=f"retry-{failed['id']}").click()
    await run(documents)
    again = await wait_until_done(tenant.http, str(failed["id"]))
    assert again["updated_at"] > str(failed["updated_at"])


async def test_what_could_not_be_read_of_a_document_is_told(documents: AppTest, run: Run, tenant: Tenant) -> None:
    hidden = b"BT 3 Tr /F1 11 Tf 72 700 Td (Nobody sees this line.) Tj ET\n"
    partly = await tenant.upload("partly.pdf", pdf.make_pdf([page_of(LIGHTHOUSE), hidden]))
    assert partly["status"] == "indexed"
    assert isinstance(partly["warnings"], list)
    (warning,) = partly["warnings"]
    await run(documents)
    assert warning in texts(documents)


async def test_a_document_is_deleted(documents: AppTest, run: Run, tenant: Tenant) -> None:
    kept = await tenant.upload("kerzenfels.md", LIGHTHOUSE.encode())
    gone = await tenant.upload("ferries.txt", FERRIES.encode())
    await run(documents)
    documents.button(key=f"delete-{gone['id']}").click()
    await run(documents)
    left = [document["id"] for document in await listed(tenant) if document["status"] != "deleting"]
    assert left == [kept["id"]]


async def test_the_list_is_filtered_by_name_and_status(documents: AppTest, run: Run, tenant: Tenant) -> None:
    await tenant.upload("kerzenfels.md", LIGHTHOUSE.encode())
    await tenant.upload("ferries.txt", FERRIES.encode())
    await run(documents)
    documents.text_input(key="filter-name").set_value("kerz")
    await run(documents)
    assert "kerzenfels.md" in texts(documents)
    assert "ferries.txt" not in texts(documents)
    documents.selectbox(key="filter-status").set_value("failed")
    await run(documents)
    assert "**No document fits.**" in texts(documents)


async def test_a_long_list_has_pages(documents: AppTest, run: Run, tenant: Tenant) -> None:
    for number in range(21):
        files = {"files": (f"note-{number:02}.txt", f"Note {number} says {number * 7}.".encode())}
        (await tenant.http.post("/documents", files=files)).raise_for_status()
    await run(documents)
    assert "**note-20.txt**" in texts(documents)
    assert "**note-00.txt**" not in texts(documents)
    documents.button(key="older").click()
    await run(documents)
    assert "**note-00.txt**" in texts(documents)
    assert "Page 2" in texts(documents)
    documents.button(key="newer").click()
    await run(documents)
    assert "**note-20.txt**" in texts(documents)


async def test_a_viewer_is_told_that_documents_cannot_be_changed(
    viewer: Tenant, api: str, run: Run, documents: AppTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAGSTONE_API_KEY", viewer.key)
    await run(documents)
    documents.file_uploader[0].set_value([("ferries.txt", FERRIES.encode(), "text/plain")])
    await run(documents)
    assert "may read and ask, but not change documents" in texts(documents)


async def test_failed_work_is_listed_and_cleared(documents: AppTest, run: Run, tenant: Tenant) -> None:
    failed = await tenant.upload("empty.pdf", make_pdf([""]))
    async with asyncio.timeout(30):
        while not (jobs := (await tenant.http.get("/jobs", params={"status": "failed"})).json()["jobs"]):
            await asyncio.sleep(0.05)
    await run(documents)
    assert "Could not be read · default · 1 attempt" in texts(documents)
    documents.button(key=f"clear-job-{jobs[0]['id']}").click()
    await run(documents)
    assert "Could not be read" not in texts(documents)
    assert (await tenant.http.get("/jobs")).json()["jobs"] == []
    assert [document["id"] for document in await listed(tenant)] == [failed["id"]]


async def test_a_paused_collection_is_resumed_and_its_documents_cancelled(
    documents: AppTest, run: Run, tenant: Tenant
) -> None:
    await run(documents)
    (collection,) = (await tenant.http.get("/collections")).json()["collections"]
    documents.button(key=f"pause-{collection['id']}").click()
    await run(documents)
    answer = await tenant.http.post("/documents", files={"files": ("ferries.txt", FERRIES.encode())})
    document = answer.json()["documents"][0]["id"]
    await run(documents)
    documents.button(key=f"cancel-{document}").click()
    await run(documents)
    assert "Cancelled · default" in texts(documents)
    assert "**default** is paused" in "\n".join(str(element.value) for element in documents.info)
    documents.button(key=f"resume-{collection['id']}").click()
    await run(documents)
    documents.button(key="retry-all-jobs").click()
    await run(documents)
    assert (await wait_until_done(tenant.http, document))["status"] == "indexed"
