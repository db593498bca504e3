"""The assistant ``rag``: what its runs may be asked, and what of the documents they may read."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from functools import partial
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import convert_to_messages
from pydantic import BaseModel, ValidationError

from app.agents import Agent, Ground
from app.filters import read_filter
from app.limits import check_text
from app.schemas import CollectionName
from app.wire import plain
from core.domain import Principal, Scope
from core.errors import InvalidInput
from core.settings import Settings
from graphs.rag import RunContext, rag_graph
from ingest.collection import Collections
from tools.search import Search


class RagContext(BaseModel):
    """What a run of ``rag`` may be told beside its input."""

    collections: list[CollectionName] | None = None
    filter: dict[str, Any] | None = None


def rag_agent(
    search: Search, chat: BaseChatModel, collections: Collections, ground: Ground, settings: Settings
) -> Agent:
    """The ``rag`` graph as an assistant."""
    graph = rag_graph(search, chat, settings.retrieval).compile(
        checkpointer=ground.saver, store=ground.memory, name="rag"
    )
    # What the nodes share among themselves is nobody's business outside: states and streams show the output only.
    graph.stream_channels = graph.output_channels
    return Agent(
        graph_id="rag",
        name="rag",
        description="Answers questions from the documents, with citations.",
        graph=graph,
        read_input=partial(read_question, limit=settings.api.max_question_chars),
        open_context=partial(open_context, collections),
        draft_node="generate",
        answer_node="verify",
        context_schema=RagContext.model_json_schema(),
    )


def read_question(value: Mapping[str, Any] | None, *, limit: int) -> dict[str, Any]:
    """The run's input with its messages in the one form that is stored.

    Raises:
        InvalidInput: there are no messages, or they are not messages.
        TooLarge: a message is too long.
    """
    if not value or not isinstance(value.get("messages"), list | dict | str) or not value["messages"]:
        raise InvalidInput('input must hold messages: {"messages": [{"role": "user", "content": "…"}]}.')
    given = value["messages"]
    try:
        messages = convert_to_messages(given if isinstance(given, list) else [given])
    except (ValueError, TypeError, NotImplementedError, KeyError) as error:
        raise InvalidInput(f"input.messages cannot be read as messages: {error}") from error
    for message in messages:
        check_text(message.text, "The message", limit)
        message.id = message.id or str(uuid.uuid4())
    if messages[-1].type != "human":
        raise InvalidInput('The last message must be a question: {"role": "user", "content": "…"}.')
    try:
        return {"messages": [plain(message) for message in messages]}
    except TypeError as error:
        raise InvalidInput("input.messages holds a text that is not valid Unicode. Remove it and try again.") from error


async def open_context(collections: Collections, principal: Principal, given: Mapping[str, Any]) -> RunContext:
    """What the run may read: the principal's scope, or the collections of it that it names.

    Raises:
        InvalidInput: the context, or the filter in it, does not fit.
        NotFound: there is no such collection.
    """
    try:
        asked = RagContext.model_validate(given)
    except ValidationError as error:
        places = "; ".join(f"context.{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise InvalidInput(places) from error
    scope = principal.scope
    if asked.collections is not None:
        ids = await collections.ids(principal.tenant, asked.collections)
        scope = Scope(tenant=principal.tenant, collections=ids)
    return RunContext(
        scope=scope, filter=None if asked.filter is None else await read_filter(asked.filter, scope, collections)
    )
