"""Uploads: files become documents, all of a request or none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.datastructures import UploadFile

from app.auth import Using, Writer
from app.routes.documents import wire
from app.schemas import DocumentsAccepted, UploadedDocument
from core.errors import InvalidInput
from ingest.arrival import describe
from ingest.collection import DEFAULT
from ingest.intake import File
from ingest.media import clean_name
from ingest.metadata import check_metadata
from ingest.sources.name import clean_path
from models.embedders import stamp_of

router = APIRouter(tags=["documents"])

MAX_FILES = 1000
LONGEST_SOURCE = 2048

UPLOAD_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {
                        "files": {"type": "array", "items": {"type": "string", "format": "binary"}},
                        "collection": {"type": "string", "default": DEFAULT},
                        "metadata": {"type": "string", "description": "a JSON object", "default": "{}"},
                        "source_id": {
                            "type": "array",
                            "items": {"type": "string", "maxLength": LONGEST_SOURCE},
                            "description": "where each file comes from; other bytes of it are a new version",
                        },
                    },
                }
            }
        },
    }
}


@router.post(
    "/documents",
    status_code=202,
    response_model=DocumentsAccepted,
    responses={200: {"model": DocumentsAccepted, "description": "the same bytes are there already"}},
    openapi_extra=UPLOAD_BODY,
)
async def upload(request: Request, response: Response, principal: Writer, services: Using) -> DocumentsAccepted:
    """Take files in, all or none; a job reads, chunks and embeds each. Sending them again repeats nothing."""
    async with request.form(max_files=MAX_FILES, max_fields=MAX_FILES + 20) as form:
        files = [file for file in form.getlist("files") if isinstance(file, UploadFile)]
        if not files:
            raise InvalidInput("There is no file in the request. Send one or more as multipart field 'files'.")
        collection = await services.collections.get(principal.tenant, str(form.get("collection") or DEFAULT))
        collection.check(stamp_of(services.embedder))
        metadata = parse_metadata(form.get("metadata"))
        check_metadata(metadata, collection.metadata_schema, collection.name)
        sources = parse_sources(form.getlist("source_id"), len(files))
        received = [
            File(
                await asyncio.to_thread(describe, name_of(file, source), file.file, metadata, source),
                file.file,
            )
            for file, source in zip(files, sources, strict=True)
        ]
        taken = await services.intake.take(principal.tenant, collection.id, received)
    accepted = [
        UploadedDocument(**wire(one.document).model_dump(), job_id=one.document.job_id, unchanged=one.unchanged)
        for one in taken
    ]
    if all(document.unchanged for document in accepted):
        response.status_code = 200
    return DocumentsAccepted(documents=accepted)


def name_of(file: UploadFile, source: str | None) -> str:
    """The name of a file; browsers send paths that mean nothing, but where a source is named a path is part of it.

    Raises:
        InvalidInput: it has none.
    """
    return clean_name(file.filename or "") if source is None else clean_path(file.filename or "")


def parse_metadata(value: Any) -> dict[str, Any]:
    """The metadata field: a JSON object, or nothing.

    Raises:
        InvalidInput: it is something else.
    """
    try:
        metadata = json.loads(value) if value else {}
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"The field 'metadata' is not JSON: {error}.") from error
    if not isinstance(metadata, dict) or "\\u0000" in str(value):
        raise InvalidInput("The field 'metadata' must be a JSON object without null characters.")
    return metadata


def parse_sources(values: Sequence[Any], files: int) -> list[str | None]:
    """The fields ``source_id``: one for each file in their order, or none at all.

    Raises:
        InvalidInput: there are more or fewer than files, or one is too long, or two are the same.
    """
    if not values:
        return [None] * files
    sources = [str(value) for value in values]
    if len(sources) != files:
        raise InvalidInput(
            f"There are {len(sources)} fields 'source_id' for {files} files. Send one for each file, in their order."
        )
    if any(not 0 < len(source) <= LONGEST_SOURCE or "\x00" in source for source in sources):
        raise InvalidInput(f"A 'source_id' has 1 to {LONGEST_SOURCE} characters, and no null character.")
    if len(set(sources)) < files:
        raise InvalidInput("Two files of the request have the same 'source_id'. Send the versions one after the other.")
    return list(sources)
