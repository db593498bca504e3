from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from core.domain import ChunkId, Scores
from core.settings import RetrievalSettings
from graphs.rag import rag_graph
from graphs.rewriting import FAILED, OVERTIME, Rewriter, other_wordings
from tools.variants import RRF_K, Variant, merged

QUESTION = "When was the lighthouse built?"
DOWN = openai.APIConnectionError(request=httpx2.Request("POST", "http://model/v1"))


class ScriptedChat(BaseChatModel):
    """Answers by the system prompt's first words, after a pause, or fails."""

    replies: Mapping[str, str | Exception]
    pauses: Mapping[str, float] = {}

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        raise NotImplementedError

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        kind = next(name for name in self.replies if messages[0].text.startswith(name))
        await asyncio.sleep(self.pauses.get(kind, 0))
        reply = self.replies[kind]
        if isinstance(reply, Exception):
            raise reply
        return ChatResult(generations=[ChatGeneration(message=AIMessage(reply))])


def rewriter(chat: ScriptedChat, **settings: Any) -> Rewriter:
    return Rewriter(chat, RetrievalSettings(**settings))


MANY = "Write other ways"
MADE_UP = "Write two sentences"
REWRITE = "Rewrite the last question"


async def test_wordings_and_a_made_up_answer_are_variants() -> None:
    chat = ScriptedChat(
        replies={MANY: "1. In what year was it made?\n- How old is it?", MADE_UP: "It was built in 1821."}
    )
    detail: dict[str, Any] = {}
    found = await rewriter(chat, queries=2, hyde=True).variants(QUESTION, detail)
    assert found == [
        Variant("In what year was it made?"),
        Variant("How old is it?"),
        Variant("It was built in 1821.", "dense"),
    ]
    assert detail == {"queries": ["In what year was it made?", "How old is it?"], "hyde": "It was built in 1821."}


@pytest.mark.parametrize(("reply", "pause", "reason"), [("It was 1821.", 5.0, OVERTIME), (DOWN, 0.0, FAILED)])
async def test_what_is_late_or_fails_is_named_and_the_rest_is_used(
    reply: str | Exception, pause: float, reason: str
) -> None:
    chat = ScriptedChat(replies={MANY: "How old is it?", MADE_UP: reply}, pauses={MADE_UP: pause})
    detail: dict[str, Any] = {}
    found = await rewriter(chat, queries=1, hyde=True, rewrite_budget_ms=300).variants(QUESTION, detail)
    assert found == [Variant("How old is it?")]
    assert detail["fallback"] == {"hyde": reason}


@pytest.mark.parametrize(("reply", "pause", "reason"), [("When was it built?", 5.0, OVERTIME), (DOWN, 0.0, FAILED)])
async def test_a_question_with_a_conversation_stays_as_it_is_without_a_rewrite(
    reply: str | Exception, pause: float, reason: str
) -> None:
    chat = ScriptedChat(replies={REWRITE: reply}, pauses={REWRITE: pause})
    detail: dict[str, Any] = {}
    question = await rewriter(chat, rewrite_budget_ms=300).contextualise("When?", ["human: the lighthouse"], detail)
    assert (question, detail) == ("When?", {"fallback": reason})


async def test_an_error_of_ours_is_not_hidden() -> None:
    chat = ScriptedChat(replies={MANY: KeyError("a mistake")})
    with pytest.raises(KeyError):
        await rewriter(chat, queries=1).variants(QUESTION, {})


async def test_a_cancelled_run_leaves_no_call_behind() -> None:
    chat = ScriptedChat(replies={MANY: "x"}, pauses={MANY: 60})
    before = asyncio.all_tasks()
    task = asyncio.create_task(rewriter(chat, queries=1).variants(QUESTION, {}))
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


def test_lines_that_are_no_new_questions_are_left_out() -> None:
    reply = f"1) {QUESTION}\n\n2) How old is it?\n3) How old is it?\n{'x' * 1000}\n* Since when does it stand?"
    assert other_wordings(reply, QUESTION, 5) == ["How old is it?", "Since when does it stand?"]
    assert other_wordings(reply, QUESTION, 1) == ["How old is it?"]


@pytest.mark.parametrize(("settings", "there"), [({}, False), ({"queries": 2}, True), ({"hyde": True}, True)])
def test_the_graph_has_the_step_only_when_the_settings_ask_for_it(settings: dict[str, Any], there: bool) -> None:
    graph = rag_graph(_never, ScriptedChat(replies={}), RetrievalSettings(**settings))  # type: ignore[arg-type]
    assert ("rewrite" in graph.nodes) == there


_never: Callable[..., None] = lambda *_: None  # noqa: E731


def match(number: int, **scores: float) -> tuple[ChunkId, Scores]:
    return ChunkId(uuid.UUID(int=number)), Scores(fused=0.5, **scores)


def test_lists_are_merged_by_rank_and_keep_the_scores_of_the_question() -> None:
    own = [match(1, dense=0.9), match(2, lexical=3.0)]
    other = [match(3, dense=0.99), match(2, dense=0.98)]
    found = dict(merged([own, other]))
    assert [chunk.int for chunk in found] == [2, 1, 3]
    both = found[ChunkId(uuid.UUID(int=2))]
    assert both == Scores(fused=both.fused, dense=None, lexical=3.0)
    assert both.fused == pytest.approx(2 / (RRF_K + 2))
    assert found[ChunkId(uuid.UUID(int=3))].dense is None
    assert merged([]) == []


@given(st.lists(st.lists(st.integers(1, 9), unique=True, max_size=6), min_size=1, max_size=4))
def test_a_match_that_every_list_has_first_stays_first(made: Sequence[Sequence[int]]) -> None:
    lists = [[match(0), *(match(number) for number in numbers)] for numbers in made]
    found = [chunk.int for chunk, _ in merged(lists)]
    assert found[0] == 0
    assert sorted(found) == sorted({0, *(number for numbers in made for number in numbers)})
