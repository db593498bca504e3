"""Who calls: the principal behind an API key, and the services that a request may use."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from app.keys import hash_key
from app.services import Services
from core.database import Pool
from core.domain import Principal, PrincipalId, Role, TenantId
from core.errors import Forbidden, Unauthorised


async def find_principal(pool: Pool, key: str) -> Principal | None:
    """The principal of a key that is not revoked."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT p.id, p.tenant_id, p.name, p.role FROM api_keys k JOIN principals p ON p.id = k.principal_id "
            "WHERE k.hash = %s AND k.revoked_at IS NULL",
            (hash_key(key),),
        )
        row = await cursor.fetchone()
    if row is None:
        return None
    return Principal(
        id=PrincipalId(row["id"]), tenant=TenantId(row["tenant_id"]), name=row["name"], role=Role(row["role"])
    )


def services_of(request: Request) -> Services:
    """What the composition root opened."""
    services: Services = request.app.state.services
    return services


def key_of(request: Request) -> str | None:
    """The key of the request: ``Authorization: Bearer KEY`` or ``x-api-key: KEY``."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.casefold() == "bearer" and token.strip():
        return token.strip()
    return request.headers.get("x-api-key")


async def principal_of(request: Request) -> Principal:
    """The principal of the request.

    Raises:
        Unauthorised: there is no key, or it is not known.
    """
    key = key_of(request)
    if key is None:
        raise Unauthorised("Send your API key as 'Authorization: Bearer KEY' or 'x-api-key: KEY'.")
    principal = await find_principal(services_of(request).pool, key)
    if principal is None:
        raise Unauthorised(
            "This API key is not known or was revoked. `python -m app keys create NAME` makes a new one."
        )
    return principal


async def writer_of(request: Request) -> Principal:
    """The principal of a request that changes documents or collections.

    Raises:
        Unauthorised: there is no key, or it is not known.
        Forbidden: the principal may only read.
    """
    principal = await principal_of(request)
    if not principal.role.may_write:
        raise Forbidden(f"The role {principal.role.value!r} may read and ask, but not change documents.")
    return principal


async def administrator_of(request: Request) -> Principal:
    """The principal of a request that is about the whole platform.

    Raises:
        Unauthorised: there is no key, or it is not known.
        Forbidden: the principal is no administrator.
    """
    principal = await principal_of(request)
    if principal.role is not Role.ADMINISTRATOR:
        raise Forbidden(f"The role {principal.role.value!r} may not do this: use an administrator's key.")
    return principal


Caller = Annotated[Principal, Depends(principal_of)]
Writer = Annotated[Principal, Depends(writer_of)]
Administrator = Annotated[Principal, Depends(administrator_of)]
Using = Annotated[Services, Depends(services_of)]
