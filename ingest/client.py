"""A running Ragstone as the command line uses it: over HTTP, with a key, like any other client."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from core.errors import Forbidden, InvalidInput, NotFound, PlatformError, Unauthorised, Unavailable

URL = "RAGSTONE_API_URL"
KEY = "RAGSTONE_API_KEY"
DEFAULT_URL = "http://127.0.0.1:8000"
PAGE = 200
ATTEMPTS = 4
ENDED = ("indexed", "failed")

Json = dict[str, Any]
ERRORS: Mapping[int, type[PlatformError]] = {401: Unauthorised, 403: Forbidden, 404: NotFound}


class Client:
    """Ragstone's API with one key."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def documents(self, collection: str, source: str) -> list[Json]:
        """The documents of a collection whose source id begins with ``source``."""
        found: list[Json] = []
        cursor = None
        while True:
            params = {"collection": collection, "source": source, "limit": PAGE, "cursor": cursor}
            page = await self.ask("GET", "/documents", params={k: v for k, v in params.items() if v is not None})
            found += page["documents"]
            cursor = page["next_cursor"]
            if cursor is None:
                return found

    async def upload(
        self, path: Path, name: str, *, source_id: str, collection: str, metadata: Mapping[str, Any]
    ) -> Json:
        """Send a file as the newest version of what ``source_id`` names; the document, with ``unchanged``."""
        fields = {"collection": collection, "source_id": source_id, "metadata": json.dumps(metadata)}
        with path.open("rb") as file:
            answer = await self.ask("POST", "/documents", data=fields, files={"files": (name, file)})
        document: Json = answer["documents"][0]
        return document

    async def document(self, id_: str) -> Json | None:
        """A document as it is now; nothing when it is gone."""
        try:
            return await self.ask("GET", f"/documents/{id_}")
        except NotFound:
            return None

    async def delete(self, id_: str) -> None:
        """Delete a document; one that is gone is no error."""
        try:
            await self.ask("DELETE", f"/documents/{id_}")
        except NotFound:
            return

    async def changes(self) -> AsyncIterator[Json]:
        """Documents as they change, until the stream breaks."""
        try:
            async with self._http.stream("GET", "/documents/events", timeout=httpx.Timeout(60)) as response:
                event = ""
                async for line in response.aiter_lines():
                    name, _, value = line.partition(": ")
                    if name == "event":
                        event = value
                    elif name == "data" and event == "document":
                        yield json.loads(value)
        except httpx.HTTPError:
            return

    async def health(self) -> Json:
        """The state of every part, also when not all are ready."""
        try:
            return dict((await self._http.get("/health/ready")).json())
        except (httpx.HTTPError, ValueError) as error:
            raise Unavailable(f"Ragstone does not answer at {self._http.base_url}.") from error

    async def ask(self, method: str, path: str, **request: Any) -> Json:
        """One request and its answer; repeated when the server does not answer or asks for it.

        Raises:
            Unauthorised: the key is not known.
            Forbidden: the key's role does not allow it.
            NotFound: there is no such thing.
            InvalidInput: the request is refused.
            Unavailable: Ragstone does not answer.
        """
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(Unavailable),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_random_exponential(max=10),
            reraise=True,
        ):
            with attempt:
                _rewind(request)
                return await self._once(method, path, request)
        raise AssertionError("unreachable")

    async def _once(self, method: str, path: str, request: Mapping[str, Any]) -> Json:
        try:
            response = await self._http.request(method, path, **request)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unavailable(
                f"Ragstone does not answer at {self._http.base_url}. Start it with `make run`, or set {URL}."
            ) from error
        if response.is_success:
            return dict(response.json()) if response.content else {}
        detail = _detail(response)
        if response.status_code in (429, 502, 503, 504):
            raise Unavailable(detail)
        raise ERRORS.get(response.status_code, InvalidInput)(detail)


@asynccontextmanager
async def open_client(url: str | None = None, key: str | None = None) -> AsyncIterator[Client]:
    """A client of the Ragstone at RAGSTONE_API_URL with the key RAGSTONE_API_KEY, unless others are given.

    Raises:
        InvalidInput: there is no key.
    """
    url, key = url or os.environ.get(URL) or DEFAULT_URL, key or os.environ.get(KEY)
    if not key:
        raise InvalidInput(
            f"Set {KEY} to an API key: `make run` shows the first one, `python -m app keys create NAME` makes others."
        )
    headers = {"Authorization": f"Bearer {key}"}
    timeout = httpx.Timeout(300, connect=5)
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=timeout, trust_env=False) as http:
        yield Client(http)


def _rewind(request: Mapping[str, Any]) -> None:
    for _, file in (request.get("files") or {}).values():
        file.seek(0)


def _detail(response: httpx.Response) -> str:
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = None
    return detail if isinstance(detail, str) else f"Ragstone answered with status {response.status_code}."
