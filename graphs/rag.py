"""The ``rag`` graph: contextualise, retrieve, generate with citations, verify."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal
from uuid import UUID

import httpx2
import openai
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.messages.ai import UsageMetadata
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.runtime import Runtime
from langsmith import traceable
from typing_extensions import TypedDict

from core.domain import Chunk, Citation, Hit, Passage, Scope, Scores
from core.errors import InvalidInput, Unavailable
from core.settings import RetrievalSettings
from graphs.answer import NOTHING_FOUND, Verifier, verify
from graphs.decisions import is_relevant
from graphs.prompts import read_prompt
from graphs.rewriting import Rewriter
from graphs.steps import step
from tools.filter import Filter
from tools.search import Search, SearchOptions
from tools.variants import Variant

HISTORY = 4
"""Messages of the conversation that a question is understood with."""
HISTORY_CHARS = 400


@dataclass(frozen=True, slots=True)
class RunContext:
    """What belongs to one run: what its principal may read, and what of that it asks for (a checked filter)."""

    scope: Scope
    filter: Filter | None = None


class RagInput(TypedDict):
    """What a run gets."""

    messages: Annotated[list[AnyMessage], add_messages]


class RagOutput(TypedDict):
    """What a run gives: the conversation, and the citations of its last answer."""

    messages: Annotated[list[AnyMessage], add_messages]
    citations: list[dict[str, Any]]


class RagState(RagOutput):
    """What the nodes share."""

    question: str
    variants: list[dict[str, Any]]
    passages: list[dict[str, Any]]
    draft: str
    draft_id: str | None


class RagNodes:
    """The nodes of the graph, around what they work with."""

    def __init__(self, search: Search, chat: BaseChatModel, settings: RetrievalSettings) -> None:
        self._search = search
        self._chat = chat
        self._settings = settings
        self._rewriter = Rewriter(chat, settings)
        self._answer_prompt = read_prompt("answer")

    async def contextualise(self, state: RagState, runtime: Runtime[RunContext]) -> dict[str, Any]:
        """Make the question understandable without the conversation; skipped when there is none."""
        question, history = split_question(state["messages"])
        fresh: dict[str, Any] = {"question": question, "citations": [], "variants": [], "passages": [], "draft": ""}
        fresh["draft_id"] = None
        if not history:
            return fresh
        with step(runtime.stream_writer, "contextualise") as detail:
            fresh["question"] = await self._rewriter.contextualise(question, history, detail)
            detail["question"] = fresh["question"]
        return fresh

    async def rewrite(self, state: RagState, runtime: Runtime[RunContext]) -> dict[str, Any]:
        """Say the question in other words to search with, when the settings ask for it."""
        with step(runtime.stream_writer, "rewrite") as detail:
            variants = await self._rewriter.variants(state["question"], detail)
        return {"variants": [variant._asdict() for variant in variants]}

    async def retrieve(self, state: RagState, runtime: Runtime[RunContext]) -> dict[str, Any]:
        """Find the passages that may hold the answer."""
        question = state["question"]
        options = SearchOptions(
            variants=[Variant(**variant) for variant in state.get("variants", [])],
            filter=runtime.context.filter,
            distinct=True,
            diversity=self._settings.diversity,
            expand=self._settings.expand,
            expand_tokens=self._settings.expand_tokens,
        )
        with step(runtime.stream_writer, "retrieve") as detail:
            hits = await _search(self._search, question, runtime.context.scope, self._settings.passages, options)
            relevant = [hit for hit in hits if is_relevant(hit, question, self._settings.min_score)]
            detail |= {"passages": len(relevant), "documents": sorted({hit.document_name for hit in relevant})}
        return {"passages": [asdict(hit) for hit in relevant]}

    async def generate(self, state: RagState, runtime: Runtime[RunContext]) -> dict[str, Any]:
        """Let the model answer from the passages, and pass on each sentence as soon as it is verified."""
        hits = [hit_of(passage) for passage in state["passages"]]
        verifier = Verifier(state["question"], hits)
        prompt = answer_messages(self._answer_prompt, state["question"], hits)
        draft, draft_id = "", None
        with step(runtime.stream_writer, "generate") as detail:
            try:
                async for chunk in self._chat.astream(prompt):
                    draft += chunk.text
                    draft_id = draft_id or chunk.id
                    if chunk.usage_metadata:
                        detail["tokens"] = chunk.usage_metadata["output_tokens"]
                        runtime.stream_writer(usage_event(chunk.usage_metadata))
                    if verified := verifier.feed(chunk.text):
                        runtime.stream_writer({"type": "answer", "text": verified})
            except (openai.OpenAIError, httpx2.HTTPError) as error:
                raise as_platform_error(error) from error
        runtime.stream_writer({"type": "answer", "text": verifier.finish()})
        return {"draft": draft, "draft_id": draft_id}

    async def verify(self, state: RagState, runtime: Runtime[RunContext]) -> dict[str, Any]:
        """Keep the sentences that the passages support, with their quotes."""
        with step(runtime.stream_writer, "verify") as detail:
            hits = [hit_of(passage) for passage in state["passages"]]
            answer = verify(state["draft"], state["question"], hits)
            citations = [wire_citation(citation) for citation in answer.citations]
            detail |= {"citations": len(citations), "dropped": answer.dropped}
        return reply_of(answer.text, citations, state["draft_id"])

    async def refuse(self, state: RagState, runtime: Runtime[RunContext]) -> dict[str, Any]:  # noqa: ARG002
        """Say that nothing was found, and cite nothing."""
        runtime.stream_writer({"type": "answer", "text": NOTHING_FOUND})
        return reply_of(NOTHING_FOUND, [], None)


def rag_graph(
    search: Search, chat: BaseChatModel, settings: RetrievalSettings
) -> StateGraph[RagState, RunContext, RagInput, RagOutput]:
    """The graph, not yet compiled."""
    nodes = RagNodes(search, chat, settings)
    graph: StateGraph[RagState, RunContext, RagInput, RagOutput] = StateGraph(
        RagState, context_schema=RunContext, input_schema=RagInput, output_schema=RagOutput
    )
    graph.add_node("contextualise", nodes.contextualise)
    graph.add_node("retrieve", nodes.retrieve)
    graph.add_node("generate", nodes.generate)
    graph.add_node("verify", nodes.verify)
    graph.add_node("refuse", nodes.refuse)
    graph.add_edge(START, "contextualise")
    if settings.queries or settings.hyde:
        graph.add_node("rewrite", nodes.rewrite)
        graph.add_edge("contextualise", "rewrite")
        graph.add_edge("rewrite", "retrieve")
    else:
        graph.add_edge("contextualise", "retrieve")
    graph.add_conditional_edges("retrieve", after_retrieval)
    graph.add_edge("generate", "verify")
    graph.add_edge("verify", END)
    graph.add_edge("refuse", END)
    return graph


def after_retrieval(state: RagState) -> Literal["generate", "refuse"]:
    """Without a relevant passage nothing is generated."""
    return "generate" if state["passages"] else "refuse"


def split_question(messages: Sequence[AnyMessage]) -> tuple[str, list[str]]:
    """The last message of the person, and the messages before it as ``role: text`` lines.

    Raises:
        InvalidInput: the last message is not a person's, or holds no text.
    """
    if not messages or not isinstance(messages[-1], HumanMessage) or not messages[-1].text.strip():
        raise InvalidInput('The last message must be a question: {"type": "human", "content": "…"}.')
    history = [message for message in messages[:-1] if isinstance(message, HumanMessage | AIMessage)][-HISTORY:]
    lines = [f"{message.type}: {message.text[:HISTORY_CHARS]}" for message in history]
    return messages[-1].text.strip(), lines


def answer_messages(prompt: str, question: str, hits: Sequence[Hit]) -> list[BaseMessage]:
    """The model's task of answering from numbered passages; the prompt's prefix is the same every time."""
    passages = [f"[{number}] {hit.read_text}" for number, hit in enumerate(hits, start=1)]
    return [SystemMessage(prompt), HumanMessage("\n\n".join([*passages, f"Question: {question}"]))]


def usage_event(usage: UsageMetadata) -> dict[str, Any]:
    """The tokens of a model call as a custom stream event."""
    return {
        "type": "usage",
        "prompt_tokens": usage["input_tokens"],
        "completion_tokens": usage["output_tokens"],
        "total_tokens": usage["total_tokens"],
    }


def wire_citation(citation: Citation) -> dict[str, Any]:
    """A citation as the state and the wire hold it: plain JSON."""
    return {key: str(value) if isinstance(value, UUID) else value for key, value in asdict(citation).items()}


def reply_of(text: str, citations: list[dict[str, Any]], message_id: str | None) -> dict[str, Any]:
    """The state's update that ends a run; the message replaces the draft that was streamed under the same id."""
    message = AIMessage(text, id=message_id, additional_kwargs={"citations": citations})
    return {"messages": [message], "citations": citations}


def hit_of(passage: Mapping[str, Any]) -> Hit:
    """A hit from the form that it has in the state, where only plain values may be."""
    wider = passage.get("passage")
    return Hit(
        chunk=Chunk(**passage["chunk"]),
        document_name=passage["document_name"],
        collection=passage["collection"],
        scores=Scores(**passage["scores"]),
        passage=wider and Passage(**{**wider, "chunks": tuple(Chunk(**chunk) for chunk in wider["chunks"])}),
    )


def as_platform_error(error: Exception) -> Unavailable | InvalidInput:
    """The chat server's error in our words."""
    if isinstance(error, openai.BadRequestError):
        return InvalidInput(f"The chat model refused the request ({error.code or 400}). Is the question too long?")
    if isinstance(error, openai.AuthenticationError):
        return Unavailable("The chat server refuses our key. Check CHAT__API_KEY.")
    if isinstance(error, openai.NotFoundError):
        return Unavailable("The chat server does not know the model. Check CHAT__MODEL and CHAT__BASE_URL.")
    return Unavailable("The chat model does not answer. It may still be loading: see /health/ready, then try again.")


async def _search(search: Search, question: str, scope: Scope, limit: int, options: SearchOptions) -> list[Hit]:
    """Search as a step that a trace shows with its passages."""
    found: list[Hit] = []

    @traceable(run_type="retriever", name="search")
    async def retrieve(query: str) -> list[dict[str, Any]]:
        found.extend((await search(query, scope=scope, limit=limit, options=options)).hits)
        return [
            {
                "page_content": hit.chunk.text,
                "type": "Document",
                "metadata": {
                    "document": hit.document_name,
                    "chunk_id": str(hit.chunk.id),
                    "page": hit.chunk.page,
                    "score": hit.scores.fused,
                },
            }
            for hit in found
        ]

    await retrieve(question)
    return found
