"""The plain LangChain pipeline, as its documentation has it; run by `benchmarks.plain` in an environment of its own.

The first line of standard input is a `Job`; each further line is the name of a collection to fill, which is answered by
a line of JSON: chunks, characters, and seconds for each stage. The model is loaded and warm before the first answer.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from langchain_core.documents import Document
    from langchain_text_splitters import TextSplitter


class Job(TypedDict):
    """What to ingest and with what: ``tokens`` is the longest chunk, ``folder`` where Chroma keeps its files."""

    files: list[str]
    model: str
    tokens: int
    threads: int
    dtype: str
    folder: str


def main() -> None:
    """Answer until standard input ends."""
    warnings.simplefilter("ignore")
    job: Job = json.loads(sys.stdin.readline())
    model, splitter = open_model(job), open_splitter(job)
    model.embed_documents(["Something to warm up with."] * 32)
    answer({"ready": True})
    for line in sys.stdin:
        answer(run(job, model, splitter, line.strip()))


def answer(what: dict[str, Any]) -> None:
    """Write a line that the parent waits for."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def open_model(job: Job) -> Any:
    """The same weights in the same numbers as Ragstone's embedder, vectors normalised as it does."""
    import torch
    from langchain_huggingface import HuggingFaceEmbeddings

    torch.set_num_threads(job["threads"])
    return HuggingFaceEmbeddings(
        model_name=job["model"],
        model_kwargs={"device": "cpu", "model_kwargs": {"dtype": getattr(torch, job["dtype"])}},
        encode_kwargs={"normalize_embeddings": True},
    )


def open_splitter(job: Job) -> TextSplitter:
    """The splitter, which counts in the model's tokens."""
    from langchain_text_splitters import RecursiveCharacterTextSplitter
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    return RecursiveCharacterTextSplitter.from_huggingface_tokenizer(
        tokenizer, chunk_size=job["tokens"], chunk_overlap=0
    )


def run(job: Job, model: Any, splitter: TextSplitter, collection: str) -> dict[str, Any]:
    """Load, split, embed and store all files; `Chroma.from_documents` would do the last two in one call."""
    from langchain_chroma import Chroma

    started, processor = time.perf_counter(), time.process_time()
    loaded = [document for file in job["files"] for document in load(file)]
    read = time.perf_counter()
    chunks = splitter.split_documents(loaded)
    split = time.perf_counter()
    timed = Timed(model)
    Chroma(collection, timed, persist_directory=job["folder"]).add_documents(chunks)
    ended = time.perf_counter()
    return {
        "chunks": len(chunks),
        "characters": sum(len(chunk.page_content) for chunk in chunks),
        "seconds": ended - started,
        "processor": time.process_time() - processor,
        "stages": {
            "load": read - started,
            "split": split - read,
            "embed": timed.seconds,
            "store": ended - split - timed.seconds,
        },
    }


def load(file: str) -> list[Document]:
    """A PDF page by page, any other file as text."""
    from langchain_community.document_loaders import PyPDFLoader, TextLoader

    loader = PyPDFLoader(file) if Path(file).suffix == ".pdf" else TextLoader(file, encoding="utf-8")
    documents: list[Document] = loader.load()
    return documents


class Timed:
    """The model, and the seconds that it took to embed."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.seconds = 0.0

    def embed_documents(self, texts: list[str]) -> Sequence[Sequence[float]]:
        """The vectors of the texts."""
        start = time.perf_counter()
        try:
            vectors: Sequence[Sequence[float]] = self._model.embed_documents(texts)
        finally:
            self.seconds += time.perf_counter() - start
        return vectors

    def embed_query(self, text: str) -> Sequence[float]:
        """The vector of a question."""
        vector: Sequence[float] = self._model.embed_query(text)
        return vector


if __name__ == "__main__":
    main()
