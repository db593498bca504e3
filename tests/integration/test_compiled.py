"""The embedder on OpenVINO gives the vectors that torch gives."""

from __future__ import annotations

import asyncio
import sys

import numpy as np
import pytest

from core.errors import InvalidInput
from core.settings import EmbeddingSettings
from models.compiled import compile_encoders
from models.embedder import load_model, open_embedder
from models.embedders import stamp_of

TEXTS = ["One.", "Water boils at 100 degrees at sea level.", "Longer than what is read. " * 200, *map(str, range(40))]


async def test_the_vectors_and_the_stamp_are_those_of_torch() -> None:
    # float32 on both sides: what bfloat16 rounds away is not the backend's doing.
    settings = EmbeddingSettings(dtype="float32")
    compiled = settings.model_copy(update={"backend": "openvino"})
    async with open_embedder(settings) as one, open_embedder(compiled) as other:
        assert stamp_of(other) == stamp_of(one)
        np.testing.assert_allclose(await other.embed_documents(TEXTS), await one.embed_documents(TEXTS), atol=1e-5)
        for text in TEXTS[:3]:
            np.testing.assert_allclose(await other.embed_query(text), await one.embed_query(text), atol=1e-5)


async def test_questions_and_documents_may_be_embedded_at_once() -> None:
    async with open_embedder(EmbeddingSettings(dtype="float32", backend="openvino")) as embedder:
        alone = await embedder.embed_query("What boils?")
        *together, documents = await asyncio.gather(
            *(embedder.embed_query("What boils?") for _ in range(20)), embedder.embed_documents(TEXTS)
        )
        assert documents.shape == (len(TEXTS), embedder.dimension)
        np.testing.assert_allclose(np.stack(together), np.tile(alone, (20, 1)), atol=1e-5)


def test_without_the_package_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    model = load_model(EmbeddingSettings())
    with pytest.raises(InvalidInput, match="pip install openvino"):
        compile_encoders([model], next(model.parameters()).dtype)
