"""The store as graphs have it: LangGraph's ``BaseStore``, of the tenant whose run they are in."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from langgraph.store.base import BaseStore, Op, Result, TTLConfig

from app.store.item import Items
from core.domain import TenantId
from core.errors import Forbidden
from core.sections import StoreSettings

_tenant: ContextVar[TenantId] = ContextVar("store_tenant")


@contextmanager
def remembering(tenant: TenantId) -> Iterator[None]:
    """What is called in the block has the store of this tenant, in every task and thread that it starts."""
    token = _tenant.set(tenant)
    try:
        yield
    finally:
        _tenant.reset(token)


class Memory(BaseStore):
    """What graphs are compiled with; outside of `remembering` it gives and takes nothing."""

    supports_ttl = True

    def __init__(self, items: Items, settings: StoreSettings) -> None:
        self._items = items
        self._loop = asyncio.get_running_loop()
        self.ttl_config = TTLConfig(
            refresh_on_read=settings.refresh_on_read,
            default_ttl=settings.ttl_minutes,
            sweep_interval_minutes=1,
        )

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """The results of the operations, in the tenant's items.

        Raises:
            InvalidInput: an operation is not possible.
            Forbidden: there is no run around the call.
        """
        return await self._items.carry_out(_current(), ops)

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """The same for a node that is a plain function, in the thread that LangGraph gives it.

        Raises:
            RuntimeError: called in the event loop, which it would block: use the methods with an ``a``.
        """
        work = self._items.carry_out(_current(), ops)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result()
        work.close()
        raise RuntimeError("An async node would block the event loop: use store.aget, aput, asearch and the like.")


def _current() -> TenantId:
    tenant = _tenant.get(None)
    if tenant is None:
        raise Forbidden("The store belongs to tenants, and this call stands in no run. Call it inside a graph's node.")
    return tenant
