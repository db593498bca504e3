"""The readers of `benchmarks.streams`, in a process of their own: so many streams at once, read byte by byte.

It reads a job from its input, makes the threads, says ``ready``, waits for a line, and then each of ``users`` starts
``rounds`` runs one after the other, each on a fresh thread. The clock of a stream begins before its connection is
opened. What was received is parsed when all have ended, so that parsing takes no time from what is measured; a run
whose tokens are not all there, in order and once, counts as failed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any, NamedTuple
from urllib.parse import urlsplit

FIRST = b"tok00"
TIMEOUT_S = 120.0
AT_ONCE = 8
CUT = b"\r\n\r\n"


class Job(NamedTuple):
    """Where to ask for what; ``expected`` is the text that every run must say."""

    url: str
    headers: dict[str, str]
    assistant: str
    users: int
    rounds: int
    expected: str


class Received(NamedTuple):
    """A stream: milliseconds to the first token and to the end, and the bytes."""

    first_ms: float
    whole_ms: float
    body: bytes


async def request(job: Job, path: str, body: Any) -> Received:
    """POST and read to the end of the answer."""
    place = urlsplit(job.url)
    payload = json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", f"Host: {place.netloc}", "Content-Type: application/json"]
    lines += [f"Content-Length: {len(payload)}", "Accept: text/event-stream, application/json", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in job.headers.items()]
    begun = time.perf_counter()
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    try:
        writer.write("\r\n".join([*lines, "", ""]).encode() + payload)
        first, received = 0.0, bytearray()
        while part := await reader.read(65536):
            received += part
            if not first and FIRST in received:
                first = time.perf_counter()
    finally:
        writer.close()
    ended = time.perf_counter()
    return Received(1000 * ((first or ended) - begun), 1000 * (ended - begun), bytes(received))


def content_of(received: bytes) -> bytes:
    """The body of an answer, whether it came in chunks or whole.

    Raises:
        ValueError: the status is not 200.
    """
    head, _, body = received.partition(CUT)
    if b" 200 " not in head.split(b"\r\n")[0]:
        raise ValueError(received[:300].decode(errors="replace"))
    if b"chunked" not in head.lower():
        return body
    whole = bytearray()
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        whole += body[:length]
        body = body[length + 2 :]
    return bytes(whole)


def text_of(content: bytes) -> str:
    """What the ``messages`` events of a stream say."""
    said = []
    for frame in content.replace(b"\r\n", b"\n").split(b"\n\n"):
        fields = [line.partition(b": ") for line in frame.split(b"\n")]
        values = {name: value for name, _, value in fields}
        if values.get(b"event") == b"messages":
            message = json.loads(values[b"data"])[0]
            said.append(message["content"] if isinstance(message["content"], str) else "")
    return "".join(said)


def complaint(received: Received, expected: str) -> str:
    """What is wrong with a stream; empty when nothing is."""
    try:
        text = text_of(content_of(received.body))
    except (ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}"[:300]
    return "" if text == expected else f"said {text[:200]!r}: {received.body[-300:].decode(errors='replace')}"


async def make_threads(job: Job) -> list[str]:
    """A thread for each run."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def make() -> str:
        async with gate:
            answer = await request(job, "/threads", {})
        return str(json.loads(content_of(answer.body))["thread_id"])

    return list(await asyncio.gather(*[make() for _ in range(job.users * job.rounds)]))


async def read_all(job: Job, threads: list[str]) -> dict[str, Any]:
    """Read every stream; the figures of those that were complete, and what is wrong with the others."""
    body = {
        "assistant_id": job.assistant,
        "input": {"messages": [{"role": "user", "content": "Count."}]},
        "stream_mode": ["messages-tuple"],
    }
    received: list[Received] = []
    broken: list[str] = []

    async def use(own: list[str]) -> None:
        for thread in own:
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    received.append(await request(job, f"/threads/{thread}/runs/stream", body))
            except (OSError, TimeoutError) as error:
                broken.append(f"{type(error).__name__}: {error}")

    begun, processor = time.perf_counter(), time.process_time()
    await asyncio.gather(*[use(threads[user :: job.users]) for user in range(job.users)])
    seconds, processor = time.perf_counter() - begun, time.process_time() - processor
    complaints = [complaint(stream, job.expected) for stream in received]
    good = [stream for stream, wrong in zip(received, complaints, strict=True) if not wrong]
    return {
        "seconds": seconds,
        "client_processor": processor,
        "first_ms": [stream.first_ms for stream in good],
        "whole_ms": [stream.whole_ms for stream in good],
        "failed": [*broken, *filter(None, complaints)],
    }


async def main() -> None:
    """One job."""
    job = Job(**json.loads(sys.stdin.readline()))
    threads = await make_threads(job)
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(await read_all(job, threads)), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
