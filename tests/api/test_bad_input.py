"""Each bad input gets its status and a sentence that helps, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import httpx
import pytest

from app.main import create_app
from app.services import Services
from core.settings import ApiSettings, Settings
from tests import pdf
from tests.conftest import Tenant, _borrowed
from tests.documents import make_pdf
from tests.model_relay import serve

ZIP = b"PK\x03\x04" + b"\0" * 64


@pytest.mark.parametrize(
    ("name", "content", "status", "words"),
    [
        ("empty.txt", b"", 422, "empty"),
        ("movie.mp4", b"\0\0\0\x18ftypmp42" + b"\0" * 32, 415, "Upload a PDF"),
        ("archive.zip", ZIP, 415, "Upload a PDF"),
        ("report.pdf", b"<html>not a pdf</html>", 422, "report.pdf"),
        ("report.docx", b"plain words", 422, "report.docx"),
        ("", b"text", 422, "name"),
        ("\x01\x02", b"text", 422, "name"),
    ],
)
async def test_a_bad_file_is_refused(tenant: Tenant, name: str, content: bytes, status: int, words: str) -> None:
    boundary = "b0undary"
    body = (
        (
            f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        + content
        + f"\r\n--{boundary}--\r\n".encode()
    )
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    response = await tenant.http.post("/documents", content=body, headers=headers)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert words in response.json()["detail"]
    assert (await tenant.http.get("/documents")).json()["documents"] == []


async def test_a_path_in_a_name_is_cut_off(tenant: Tenant) -> None:
    document = await tenant.upload("../../etc/passwd.txt", b"No secrets here.")
    assert (document["name"], document["status"]) == ("passwd.txt", "indexed")


async def test_a_pdf_without_text_says_so(tenant: Tenant) -> None:
    document = await tenant.upload("scan.pdf", make_pdf(["", ""]))
    assert document["status"] == "failed"
    assert "no text" in str(document["error"])


async def test_an_encrypted_pdf_says_what_to_do(tenant: Tenant) -> None:
    content = pdf.make_pdf([[pdf.Words("Secret plans.")]], password="open sesame")
    document = await tenant.upload("plans.pdf", content)
    assert document["status"] == "failed"
    assert "password" in str(document["error"])
    assert (await tenant.http.get(f"/documents/{document['id']}/content")).content == content


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/search", b"{not json", "not valid JSON"),
        ("/search", b"{}", "query"),
        ("/search", b'{"query": ""}', "query"),
        ("/search", b'{"query": " \\n "}', "empty"),
        ("/search", b'{"query": "x", "limit": 0}', "limit"),
        ("/search", b'{"query": "x", "limti": 5}', "limti"),
        ("/search", b'{"query": "a\\u0000b"}', "U+0000"),
        ("/search", b'{"query": "a\\u001bb"}', "U+001B"),
        ("/collections", b'{"name": "../x"}', "name"),
        ("/collections", b'{"name": "a\\u0000"}', "name"),
        ("/threads", b'{"thread_id": "7"}', "thread_id"),
        ("/threads", b'{"metadata": {"a": "\\u0000"}}', "U+0000"),
        ("/threads", b"[]", "body"),
        ("/v1/chat/completions", b'{"model": "rag", "messages": []}', "messages"),
    ],
)
async def test_a_bad_body_is_refused_with_its_place(tenant: Tenant, path: str, body: bytes, words: str) -> None:
    response = await tenant.http.post(path, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert words in response.json()["detail"]


async def test_a_question_of_a_megabyte_is_too_large(tenant: Tenant) -> None:
    text = "why " * 250_000
    for path, body in (
        ("/search", {"query": text}),
        ("/runs/wait", {"assistant_id": "rag", "input": {"messages": [{"role": "user", "content": text}]}}),
        ("/v1/chat/completions", {"model": "rag", "messages": [{"role": "user", "content": text}]}),
    ):
        response = await tenant.http.post(path, json=body)
        assert (path, response.status_code) == (path, 413)
        assert "1,000,000 characters" in response.json()["detail"]


async def test_unknown_ids_are_not_found(tenant: Tenant) -> None:
    unknown = uuid.uuid4()
    for path in (f"/documents/{unknown}", f"/threads/{unknown}", f"/threads/{unknown}/state", "/assistants/nobody"):
        response = await tenant.http.get(path)
        assert (path, response.status_code) == (path, 404)
        assert response.json()["detail"] != ""
    assert (await tenant.http.get("/documents/7")).status_code == 422
    assert (await tenant.http.get("/nowhere")).status_code == 404
    assert (await tenant.http.put("/documents")).status_code == 405
    assert (await tenant.http.get("/documents", params={"cursor": "x"})).status_code == 422


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/documents?name=%00", None),
        ("GET", "/documents?collection=%00", None),
        ("GET", "/threads/{thread}/runs?status=%00", None),
        ("POST", "/threads", b'{"metadata": {"a": "\\ud800"}}'),
        ("POST", "/threads", b'{"metadata": {"a": NaN}}'),
        (
            "POST",
            "/threads/{thread}/runs",
            b'{"assistant_id": "rag", "input": {"messages": [{"role": "user", "name": "\\ud800", "content": "x"}]}}',
        ),
    ],
)
async def test_a_value_that_cannot_be_stored_is_refused_wherever_it_stands(
    tenant: Tenant, method: str, path: str, body: bytes | None
) -> None:
    thread = (await tenant.sdk.threads.create())["thread_id"]
    headers = {"Content-Type": "application/json"}
    response = await tenant.http.request(method, path.format(thread=thread), content=body, headers=headers)
    assert response.status_code == 422, response.text
    assert response.json()["detail"] != ""


async def test_an_upload_without_a_file_says_how_to_send_one(tenant: Tenant) -> None:
    response = await tenant.http.post("/documents", data={"collection": "default"})
    assert response.status_code == 422
    assert "'files'" in response.json()["detail"]
    broken = await tenant.http.post(
        "/documents", content=b"--x\r\nbroken", headers={"Content-Type": "multipart/form-data; boundary=x"}
    )
    assert broken.status_code in (400, 422)
    assert broken.json()["detail"] != ""


@pytest.mark.parametrize("metadata", ["[1]", "{", "[" * 100_000, '{"a": "\\u0000"}'])
async def test_metadata_must_be_an_object(tenant: Tenant, metadata: str) -> None:
    response = await tenant.http.post("/documents", files={"files": ("a.txt", b"text")}, data={"metadata": metadata})
    assert response.status_code == 422
    assert "metadata" in response.json()["detail"]


@pytest.fixture
async def narrow(services: Services, settings: Settings, tenant: Tenant) -> AsyncIterator[httpx.AsyncClient]:
    """The API with small limits."""
    small = settings.model_copy(update={"api": ApiSettings(max_upload_mb=1, max_body_kb=64)})
    async with (
        serve(create_app(small, lambda _: _borrowed(services))) as url,
        httpx.AsyncClient(base_url=url, headers={"x-api-key": tenant.key}) as http,
    ):
        yield http


async def test_an_upload_above_the_limit_is_refused_even_when_it_does_not_say_its_size(
    narrow: httpx.AsyncClient,
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\n'
        for _ in range(40):
            yield b"text " * 10_000

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    chunked = await narrow.post("/documents", content=endless(), headers=headers)
    said = await narrow.post("/documents", files={"files": ("a.txt", b"text " * 300_000)})
    for response in (chunked, said):
        assert response.status_code == 413
        assert "1 MiB" in response.json()["detail"]
    large = await narrow.post("/search", json={"query": "x" * 100_000})
    assert large.status_code == 413
    assert "64 KiB" in large.json()["detail"]
    assert (await narrow.get("/documents")).json()["documents"] == []


@pytest.mark.parametrize("count", [1, 100])
async def test_a_head_above_the_limit_is_refused(api: str, count: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(api.rpartition(":")[2]))
    headers = [b"X-%d: " % number + b"a" * (70_000 // count) for number in range(count)]
    # No more than the server reads before it refuses: what it leaves unread would break off its answer.
    writer.write(b"\r\n".join([b"GET /ok HTTP/1.1", b"Host: x", *headers]))
    assert (await reader.read()).startswith(b"HTTP/1.1 431 ")
    writer.close()


async def test_requests_of_one_connection_are_counted_each_for_itself(tenant: Tenant) -> None:
    for _ in range(4):
        assert (await tenant.http.get("/ok", headers={"X-Long": "a" * 40_000})).status_code == 200
