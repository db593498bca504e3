"""The settings: one frozen section per part, read from the environment and from ``.env``.

``DATABASE__URL=…`` sets ``database.url``. Each part that `make run` embeds is replaced by setting its URL.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv import dotenv_values
from pydantic import Field, SecretStr, UrlConstraints, ValidationError
from pydantic_core import Url
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.errors import InvalidInput
from core.sections import RunSettings, Section, StoreSettings, ThreadSettings

HttpAddress = Annotated[Url, UrlConstraints(allowed_schemes=["http", "https"])]
PostgresAddress = Annotated[Url, UrlConstraints(allowed_schemes=["postgresql", "postgres"])]
ChunkStrategy = Literal["tokens", "sentences", "recursive", "semantic", "structure"]
SECTION_NEARNESS = 0.85
Port = Annotated[int, Field(ge=1, le=65535)]


class ApiSettings(Section):
    """The REST API."""

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for every interface.")
    port: Port = Field(8000, description="Port to listen on.")
    max_upload_mb: int = Field(100, ge=1, description="Largest upload request, in MiB.")
    max_body_kb: int = Field(4096, ge=64, description="Largest request that is not an upload, in KiB.")
    max_question_chars: int = Field(20_000, ge=100, description="Longest message of a person, in characters.")
    idempotency_hours: float = Field(
        24.0, gt=0, description="How long the answer to an Idempotency-Key is kept, in hours."
    )
    cors_origins: str | None = Field(
        None,
        description="Origins of web pages that may call the API from a browser, such as https://chat.example.org, with "
        "commas between them; *: any; empty: none.",
    )


class UiSettings(Section):
    """The Streamlit user interface."""

    enabled: bool = Field(True, description="Whether `make run` starts the user interface.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: Port = Field(8501, description="Port to listen on.")


class DatabaseSettings(Section):
    """PostgreSQL; without a URL an embedded server keeps its data under DATA_DIR."""

    url: PostgresAddress | None = Field(None, description="postgresql://user:password@host:5432/name")
    pool_min: int = Field(2, ge=1, description="Connections kept open.")
    pool_max: int = Field(20, ge=2, description="Most connections at once.")
    max_idle_s: float = Field(300.0, gt=0, description="An unused connection is closed after this many seconds.")
    max_lifetime_s: float = Field(3600.0, gt=0, description="A connection is replaced after this many seconds.")


class QdrantSettings(Section):
    """Vectors; without a URL Qdrant Edge keeps them under DATA_DIR, in the API process."""

    url: HttpAddress | None = Field(None, description="Address of a Qdrant server or cluster.")
    api_key: SecretStr | None = Field(None, description="Key of the Qdrant server.")
    timeout_s: int = Field(60, ge=1, description="Longest wait for an answer, in seconds.")
    shards: int | None = Field(None, ge=1, description="Shards of a new Qdrant collection; empty: one for each node.")
    replicas: int = Field(1, ge=1, description="Copies of each shard of a new Qdrant collection.")
    write_consistency: int = Field(1, ge=1, description="Copies that must have a write before it counts as stored.")
    quantisation: Literal["none", "int8"] = Field(
        "none", description="int8: one byte per dimension in memory; what is found is scored again by the full vectors."
    )
    vectors_on_disk: bool = Field(False, description="Whether full vectors of a new Qdrant collection stay on disk.")
    hnsw_m: int = Field(16, ge=4, description="Links of a point in the search graph of a new Qdrant collection.")
    hnsw_ef_construct: int = Field(100, ge=8, description="Candidates looked at when a point is linked.")


class ChromaSettings(Section):
    """Vectors on Chroma, when INDEX__ENGINE says so; without a URL they are kept under DATA_DIR, in the API process."""

    url: HttpAddress | None = Field(None, description="Address of a Chroma server.")
    api_key: SecretStr | None = Field(None, description="Bearer token that the server, or the proxy before it, wants.")


class IndexSettings(Section):
    """The vector index."""

    engine: Literal["qdrant", "chroma"] = Field("qdrant", description="What holds the vectors.")


class ChatSettings(Section):
    """The chat model; without a base URL an embedded llama.cpp server is started."""

    base_url: HttpAddress | None = Field(None, description="Any OpenAI-compatible server, for example vLLM's /v1.")
    model: str = Field(
        "qwen2.5-coder-0.5b-instruct",
        min_length=1,
        description="Name in models/catalog.toml for the embedded server (the tiny one: smollm2-135m-instruct), "
        "or the name that the server at CHAT__BASE_URL knows.",
    )
    api_key: SecretStr | None = Field(None, description="Key of the chat server.")
    temperature: float = Field(0.0, ge=0, le=2, description="0 for the most likely answer.")
    max_tokens: int = Field(256, ge=16, description="Longest answer, in tokens.")
    timeout_s: float = Field(120.0, gt=0, description="Longest wait for the chat server, in seconds.")
    threads: int | None = Field(None, ge=1, description="Threads of the embedded server; empty for all cores.")
    slots: int = Field(2, ge=1, description="Requests that the embedded server works on at once.")
    context: int = Field(4096, ge=512, description="Context of one slot of the embedded server, in tokens.")


class EmbeddingSettings(Section):
    """The embedding model."""

    model: str = Field(
        "all-MiniLM-L6-v2",
        min_length=1,
        description="all-MiniLM-L6-v2 (in a wheel), a folder, or a sentence-transformers model of the hub.",
    )
    revision: str | None = Field(None, description="Revision of a hub model.")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 where the processor has it, else float32."
    )
    backend: Literal["torch", "openvino"] = Field(
        "torch",
        description="What computes on the processor: openvino gives the same vectors sooner on Intel's; it takes the "
        "package extra openvino.",
    )
    batch: int = Field(16, ge=1, description="Chunks embedded at once.")


class BlobSettings(Section):
    """The original files."""

    url: str | None = Field(
        None,
        description="Any fsspec address, for example s3://bucket/prefix; empty: a folder under DATA_DIR.",
    )


ReconcileMode = Literal["report", "repair", "off"]


class IngestSettings(Section):
    """The write path."""

    worker: bool = Field(
        True, description="Whether the API's process works on jobs too; false where `python -m ingest worker` runs."
    )
    concurrency: int = Field(2, ge=1, description="Documents worked on at once by one worker.")
    embed_batches: int | None = Field(
        None, ge=1, description="Batches that a worker embeds at once; empty: one per core of the machine."
    )
    blob_timeout_s: float = Field(600.0, gt=0, description="Longest time for moving one original file.")
    chunk_timeout_s: float = Field(600.0, gt=0, description="Longest time for dividing one document.")
    embed_timeout_s: float = Field(120.0, gt=0, description="Longest time for embedding one batch of chunks.")
    index_timeout_s: float = Field(120.0, gt=0, description="Longest time for one call of the vector index.")
    alarm_s: float = Field(900.0, gt=0, description="A job that has waited for this many seconds raises an alarm.")
    reconcile: ReconcileMode = Field(
        "repair",
        description="What is done every night at 3:23 UTC about differences between PostgreSQL, the vector index and "
        "the original files.",
    )
    chunker: ChunkStrategy = Field("structure", description="How the documents of new collections are cut.")
    chunk_tokens: int = Field(
        160, ge=32, description="Longest chunk of new collections, in tokens of the embedding model."
    )
    load_timeout_s: float = Field(300.0, gt=0, description="Longest time that reading one document may take.")
    load_memory_mb: int = Field(2048, ge=256, description="Most memory that reading one document may take, in MiB.")
    load_max_chars: int = Field(
        20_000_000, ge=1000, description="Longest text of one document, in characters; a longer one is refused."
    )
    pdf_reader: Literal["pypdfium2", "docling"] = Field(
        "pypdfium2",
        description="What reads PDFs; docling takes the package extra `docling`, its models, and more time.",
    )
    ocr: Literal["auto", "off"] = Field(
        "auto", description="auto: pictures and scanned pages are read by tesseract where it is installed."
    )
    ocr_languages: str = Field(
        "eng", pattern=r"^\w+(\+\w+)*$", description="Languages that tesseract looks for, for example eng+deu."
    )
    ocr_timeout_s: float = Field(
        600.0, gt=0, description="Longest time that tesseract may take for one document; later pages are left out."
    )


class SourceSettings(Section):
    """Where documents are taken from, besides uploads."""

    allowed_hosts: str | None = Field(
        None,
        description="Hosts of an intranet that may be fetched from: names, *.names, addresses and networks such as "
        "10.1.0.0/16, with commas between them; empty: only the public internet.",
    )
    folders: str | None = Field(
        None,
        description="Folders of the server that administrators may take documents from, with commas between them; "
        "{tenant} stands for the tenant's id; empty: none.",
    )
    prefixes: str | None = Field(
        None,
        description="fsspec addresses such as s3://bucket/docs that administrators may take documents from, with "
        "commas between them; {tenant} stands for the tenant's id; empty: none.",
    )
    max_mb: int = Field(100, ge=1, description="Largest file that is taken from a source, in MiB.")
    max_items: int = Field(50_000, ge=1, description="Most files that one source may offer.")
    timeout_s: float = Field(120.0, gt=0, description="Longest time that fetching one file may take.")


class RetrievalSettings(Section):
    """The read path."""

    passages: int = Field(3, ge=1, le=20, description="Passages that the model reads.")
    candidates: int = Field(100, ge=1, le=1000, description="Depth of each of the dense and lexical lists.")
    dense_share: float = Field(
        0.6,
        ge=0,
        le=1,
        description="Weight of the dense list in a hybrid search, the rest is the lexical one's; it sinks by itself "
        "for questions in a language that the embedding model does not know.",
    )
    min_score: float = Field(
        0.35, ge=-1, le=1, description="Cosine below which a passage counts as not relevant to the question."
    )
    diversity: float | None = Field(
        None, ge=0, le=1, description="Maximal marginal relevance of the passages: its lambda; empty: off."
    )
    expand: Literal["none", "neighbours", "parent"] = Field(
        "none", description="What the model reads around each passage: nothing, its neighbours, or its section."
    )
    expand_tokens: int = Field(480, ge=1, le=4000, description="Longest widened passage, in tokens of the embedder.")
    queries: int = Field(0, ge=0, le=5, description="Other wordings of a question to search with; 0: none.")
    hyde: bool = Field(False, description="Whether to search with a made-up answer as well (HyDE).")
    rewrite_budget_ms: int = Field(
        10_000, ge=100, description="Longest wait for the model to say a question anew, in milliseconds."
    )


class RerankerSettings(Section):
    """The reranker: it reads the question and the best passages together and orders them anew."""

    model: str | None = Field(
        None,
        description="late-interaction (the token vectors of EMBEDDING__MODEL), or a cross-encoder of "
        "sentence-transformers: a folder or a name on the hub; empty: none.",
    )
    revision: str | None = Field(None, description="Revision of a hub model.")
    candidates: int = Field(20, ge=2, le=200, description="Best passages that are ordered anew.")
    budget_ms: int = Field(2000, ge=10, description="No further passages are read after this time, in milliseconds.")
    cache_mb: int = Field(
        128, ge=0, description="Memory for what late-interaction has read of passages, about 0.1 MB each, in MiB."
    )
    share: float = Field(0.5, ge=0, le=1, description="Weight of the reranker; the rest is the hybrid search's.")
    default: bool = Field(False, description="Whether searches that do not say use it.")


class LogSettings(Section):
    """The logs; they never hold keys, questions or document text."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is written.")
    json_lines: bool = Field(False, description="One JSON object per line, for log collectors.")


class Settings(BaseSettings):
    """All settings. Build it once, in a composition root."""

    model_config = SettingsConfigDict(
        env_nested_delimiter="__", env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    data_dir: Path = Field(Path(".data"), description="Where the embedded parts keep all state.")
    models_dir: Path | None = Field(None, description="Where model files are kept; empty: DATA_DIR/models.")
    api: ApiSettings = ApiSettings()
    ui: UiSettings = UiSettings()
    database: DatabaseSettings = DatabaseSettings()
    index: IndexSettings = IndexSettings()
    qdrant: QdrantSettings = QdrantSettings()
    chroma: ChromaSettings = ChromaSettings()
    chat: ChatSettings = ChatSettings()
    embedding: EmbeddingSettings = EmbeddingSettings()
    blobs: BlobSettings = BlobSettings()
    ingest: IngestSettings = IngestSettings()
    sources: SourceSettings = SourceSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    reranker: RerankerSettings = RerankerSettings()
    store: StoreSettings = StoreSettings()
    runs: RunSettings = RunSettings()
    threads: ThreadSettings = ThreadSettings()
    log: LogSettings = LogSettings()

    @property
    def models_path(self) -> Path:
        """The folder of the model files."""
        return self.models_dir or self.data_dir / "models"


def read_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment and ``.env``.

    Raises:
        InvalidInput: with one line per bad setting: its name, what was expected, and a near name for an unknown one.
    """
    strangers = unknown_names({**dotenv_values(".env"), **os.environ})
    if strangers:
        raise InvalidInput("\n".join(strangers))
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise InvalidInput("\n".join(_line(item["loc"], item["msg"]) for item in error.errors())) from error


def variable(*path: str) -> str:
    """The environment variable of a setting: ``("chat", "model")`` gives ``CHAT__MODEL``."""
    return "__".join(path).upper()


def variables() -> dict[str, tuple[str, ...]]:
    """Every environment variable that is a setting, and the path of the setting."""
    names: dict[str, tuple[str, ...]] = {}
    for name, info in Settings.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, Section):
            names |= {variable(name, field): (name, field) for field in info.annotation.model_fields}
        else:
            names[variable(name)] = (name,)
    return names


def unknown_names(environment: Mapping[str, Any]) -> list[str]:
    """A line for each variable that looks like one of our settings and is none.

    That is a strange name in a section of ours, or in one that is nearly called so. Other programs' variables are none
    of our business.
    """
    known = variables()
    sections = {path[0].upper() for path in known.values() if len(path) > 1}
    lines = []
    for name in sorted(environment):
        section, mark, _ = name.upper().partition("__")
        if mark and name.upper() not in known and difflib.get_close_matches(section, sections, cutoff=SECTION_NEARNESS):
            near = difflib.get_close_matches(name.upper(), known, n=1)
            hint = f"; did you mean {near[0]}?" if near else "; docs/reference/settings.md lists all settings"
            lines.append(f"{name}: unknown setting{hint}")
    return lines


def _line(location: tuple[int | str, ...], message: str) -> str:
    path = [str(part) for part in location][:2]
    return f"{variable(*path)}: {message}"
