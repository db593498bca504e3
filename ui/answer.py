"""Questions and answers on the page, and the answer that is coming in."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from ui import session
from ui.citations import draw_citations
from ui.feed import AnswerFeed
from ui.markup import answer_markdown, draft_markdown, plain_block
from ui.stream import AnswerView, Message, Step, steps_headline

TICK_SECONDS = 0.2
AVATARS = {"human": ":material/person:", "ai": ":material/auto_stories:"}


def draw_question(text: str) -> None:
    """A question as it was typed."""
    with st.chat_message("user", avatar=AVATARS["human"]):
        st.markdown(plain_block(text))


def draw_messages(messages: Sequence[Message], thread_id: str) -> None:
    """The questions and answers so far."""
    for position, message in enumerate(messages):
        if message.role == "human":
            draw_question(message.text)
        else:
            _draw_answer(message, thread_id, position)


def draw_live(feed: AnswerFeed) -> None:
    """The answer that is coming in; draws it anew with every token and the whole page once it has ended.

    The page's own run draws it once and ends, so that nothing of an earlier page is left standing. The runs
    of the fragment, which the browser starts, follow the stream; a click elsewhere, such as Stop, ends them.
    """
    page_run = True

    @st.fragment(run_every=TICK_SECONDS)
    def live() -> None:
        nonlocal page_run
        slots = _Slots(feed)
        slots.draw(feed.view)
        if page_run:
            page_run = False
            return
        for view in feed.follow():
            slots.draw(view)
        st.rerun()

    live()


def settle(thread_id: str) -> None:
    """Put an answer that has ended aside; the conversation itself is read from the server from now on."""
    feed = session.feeds().get(thread_id)
    if feed is None or not feed.view.ended:
        return
    del session.feeds()[thread_id]
    view = feed.view
    session.outcomes()[thread_id] = session.Outcome(view=view, stopped=feed.stopped)
    if message_id := view.answer.id if view.answer else view.draft_id:
        session.steps_of()[message_id] = view.steps


def draw_outcome(messages: Sequence[Message], thread_id: str) -> str | None:
    """What became of a question without an answer; the question when it is to be asked again."""
    if not messages or messages[-1].role != "human":
        return None
    outcome = session.outcomes().get(thread_id)
    with st.chat_message("assistant", avatar=AVATARS["ai"]):
        if outcome and outcome.stopped:
            st.caption(":material/stop_circle: Stopped before anything was written.")
        elif outcome and outcome.view.error:
            st.error(outcome.view.error, icon=":material/error:")
        else:
            st.caption(":material/info: This question has no answer.")
        again = st.button("Ask again", key="ask-again", icon=":material/refresh:")
    return messages[-1].text if again else None


def _draw_answer(message: Message, thread_id: str, position: int) -> None:
    with st.chat_message("assistant", avatar=AVATARS["ai"]):
        if steps := session.steps_of().get(message.id):
            status = st.status(steps_headline(steps), state="complete", type="compact")
            status.markdown(steps_markdown(steps))
        if message.stopped:
            with st.container(key=f"draft-{position}"):
                st.markdown(draft_markdown(message.text))
            st.caption(":material/stop_circle: Stopped. What was written by then has not been checked.")
            return
        with st.container(key=f"answer-{position}"):
            st.markdown(answer_markdown(message.text, {citation.n for citation in message.citations}))
        draw_citations(message.citations, thread_id, position)


def steps_markdown(steps: Sequence[Step]) -> str:
    """The steps as a list."""
    lines = [
        f"{':material/check:' if step.seconds is not None else ':material/pending:'} {step.line}" for step in steps
    ]
    return "  \n".join(lines)


class _Slots:
    """The places of the page that a running answer is drawn into."""

    def __init__(self, feed: AnswerFeed) -> None:
        self._feed = feed
        self._shown_question: str | None = None
        self._question = st.empty()
        with st.chat_message("assistant", avatar=AVATARS["ai"]):
            self._status = st.status("Working…", expanded=True, type="compact")
            self._steps = self._status.empty()
            self._draft = st.container(key="draft-live").empty()
            self._answer = st.container(key="answer-live").empty()

    def draw(self, view: AnswerView) -> None:
        """Draw what has changed; the browser leaves alone what is the same."""
        question = self._feed.question or view.question
        if question and question != self._shown_question:
            self._shown_question = question
            with self._question:
                draw_question(question)
        self._status.update(
            label="Stopping…" if self._feed.stopped and not view.ended else view.headline,
            state="complete" if view.ended else "running",
            expanded=not view.ended,
        )
        if view.steps:
            self._steps.markdown(steps_markdown(view.steps))
        self._draw_text(view)

    def _draw_text(self, view: AnswerView) -> None:
        if view.answer:
            self._draft.empty()
            marks = {citation.n for citation in view.answer.citations}
            self._answer.markdown(answer_markdown(view.answer.text, marks))
        elif view.draft:
            self._draft.markdown(draft_markdown(view.draft))
