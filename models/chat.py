"""The chat model behind any OpenAI-compatible server."""

from __future__ import annotations

from langchain_core.language_models import BaseChatModel

from core.errors import Unavailable
from core.settings import ChatSettings


def create_chat(settings: ChatSettings) -> BaseChatModel:
    """The client of the chat server; it streams and reports its tokens.

    Raises:
        Unavailable: no server is configured.
    """
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

    if settings.base_url is None:
        raise Unavailable("No chat model is configured: set CHAT__BASE_URL, or start everything with `make run`.")
    return ChatOpenAI(
        base_url=str(settings.base_url),
        # Servers without a key ignore it, the client insists on one.
        api_key=settings.api_key or SecretStr("none"),
        model=settings.model,
        temperature=settings.temperature,
        max_completion_tokens=settings.max_tokens,
        timeout=settings.timeout_s,
        max_retries=1,
        stream_usage=True,
    )
