"""A migrated database without anything else open, and somebody in it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app.services import prepare_database
from core.database import Pool
from core.domain import Principal
from tests.conftest import make_principal
from tests.gated import process


@pytest.fixture(scope="session")
async def prepared(postgres: str) -> AsyncIterator[Pool]:
    async with process(postgres) as pool:
        await prepare_database(pool)
        yield pool


@pytest.fixture
async def person(prepared: Pool) -> Principal:
    principal, _ = await make_principal(prepared)
    return principal
