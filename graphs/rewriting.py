"""Questions said differently by the model, within a budget of time; without an answer the question stays as it is."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

import httpx2
import openai
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from core.settings import RetrievalSettings
from graphs.decisions import usable_rewrite
from graphs.prompts import read_prompt
from tools.variants import Variant

NO_STREAM = "nostream"
"""LangGraph's tag for a model call whose tokens are nobody's answer."""
MAX_TOKENS = 96
"""The most tokens of what the model writes here."""
NUMBERING = re.compile(r"^\W*(?:\d+[.):]\s*)?")
OVERTIME = "took longer than RETRIEVAL__REWRITE_BUDGET_MS allows"
FAILED = "the chat model did not answer"


class Rewriter:
    """Says a question anew: free of the conversation, in other words, or as the passage that would answer it."""

    def __init__(self, chat: BaseChatModel, settings: RetrievalSettings) -> None:
        self._chat = chat.bind(max_tokens=MAX_TOKENS).with_config(tags=[NO_STREAM])
        self._settings = settings
        self._budget_s = settings.rewrite_budget_ms / 1000
        self._contextualise = read_prompt("contextualise")
        self._queries = read_prompt("queries")
        self._hyde = read_prompt("hyde")

    async def contextualise(self, question: str, history: Sequence[str], detail: dict[str, Any]) -> str:
        """The question as it can be understood without the conversation; ``detail`` tells when it stays as it is."""
        prompt = [SystemMessage(self._contextualise), HumanMessage("\n".join([*history, f"last question: {question}"]))]
        replies, detail_of = await within(self._budget_s, {"rewrite": self._ask(prompt)})
        if detail_of:
            detail["fallback"] = detail_of["rewrite"]
        rewrite = replies.get("rewrite", "")
        return rewrite if usable_rewrite(rewrite, question, history) else question

    async def variants(self, question: str, detail: dict[str, Any]) -> list[Variant]:
        """Other wordings, and a made-up answer (HyDE), as the settings ask; ``detail`` tells what came in time.

        Gao et al., "Precise Zero-Shot Dense Retrieval without Relevance Labels", ACL 2023.
        """
        asked: dict[str, Awaitable[str]] = {}
        if self._settings.queries:
            asked["queries"] = self._ask([SystemMessage(self._queries), HumanMessage(question)])
        if self._settings.hyde:
            asked["hyde"] = self._ask([SystemMessage(self._hyde), HumanMessage(question)])
        replies, missing = await within(self._budget_s, asked)
        wordings = other_wordings(replies.get("queries", ""), question, self._settings.queries)
        passage = replies.get("hyde", "")
        detail |= {"queries": wordings, "hyde": passage}
        if missing:
            detail["fallback"] = missing
        return [*(Variant(text) for text in wordings), *([Variant(passage, "dense")] if passage else [])]

    async def _ask(self, messages: Sequence[BaseMessage]) -> str:
        reply: AIMessage = await self._chat.ainvoke(list(messages))
        return reply.text.strip()


async def within(budget_s: float, asked: Mapping[str, Awaitable[str]]) -> tuple[dict[str, str], dict[str, str]]:
    """The replies that came in time, and why the others are missing."""
    tasks = {name: asyncio.ensure_future(reply) for name, reply in asked.items()}
    try:
        await asyncio.wait(tasks.values(), timeout=budget_s)
    finally:
        for task in tasks.values():
            task.cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)
    replies: dict[str, str] = {}
    missing: dict[str, str] = {}
    for name, task in tasks.items():
        if task.cancelled():
            missing[name] = OVERTIME
        elif (error := task.exception()) is None:
            replies[name] = task.result()
        elif isinstance(error, openai.OpenAIError | httpx2.HTTPError):
            missing[name] = FAILED
        else:
            raise error
    return replies, missing


def other_wordings(reply: str, question: str, most: int) -> list[str]:
    """The lines of the reply that are questions of their own, at most ``most``."""
    lines = [NUMBERING.sub("", line).strip() for line in reply.splitlines()]
    fresh = dict.fromkeys(line for line in lines if line and line.casefold() != question.casefold())
    return [line for line in fresh if len(line) <= 3 * len(question) + 200][:most]
