"""The chat model behind any OpenAI-compatible server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from langchain_core.language_models import BaseChatModel

from core.errors import Unavailable
from core.settings import ChatSettings

CONNECT_S = 5.0
"""A server that does not take a connection within this time is not there."""


@asynccontextmanager
async def open_chat(settings: ChatSettings) -> AsyncIterator[BaseChatModel]:
    """The client of the chat server; it streams and reports its tokens. The server need not be up yet.

    Raises:
        Unavailable: no server is configured.
    """
    import httpx2
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

    if settings.base_url is None:
        raise Unavailable("No chat model is configured: set CHAT__BASE_URL, or start everything with `make run`.")
    timeout = httpx2.Timeout(settings.timeout_s, connect=CONNECT_S)
    # The client of our own is closed with the process; the library's would never be.
    async with httpx2.AsyncClient(timeout=timeout) as http:
        yield ChatOpenAI(
            base_url=str(settings.base_url),
            # Servers without a key ignore it, the client insists on one.
            api_key=settings.api_key or SecretStr("none"),
            model=settings.model,
            temperature=settings.temperature,
            max_completion_tokens=settings.max_tokens,
            timeout=settings.timeout_s,
            max_retries=1,
            stream_usage=True,
            http_async_client=http,
        )
