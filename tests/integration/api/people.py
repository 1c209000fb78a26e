"""People of an installation, and what they send."""

from __future__ import annotations

import datetime as dt
from typing import Any, NamedTuple
from uuid import UUID

import httpx

from analytics_core.db.memberships import add_membership
from analytics_core.db.users import create_user
from analytics_core.passwords import PasswordHasher
from analytics_core.permissions import RoleName
from tests.integration.api.ledger import Api, Ledger

__all__ = ("PASSWORD", "SignedIn", "make_person", "sign_in", "take_token")

PASSWORD = "seven wise llamas"


class SignedIn(NamedTuple):
    """What a sign-in gave."""

    access: str
    refresh: str
    body: dict[str, Any]


async def make_person(
    ledger: Ledger,
    email: str = "ann@example.com",
    *tenants: str,
    role: RoleName = RoleName.OWNER,
    password: str = PASSWORD,
    verified: bool = True,
) -> UUID:
    """Store somebody who belongs to tenants that are there."""
    now = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
    async with ledger.auth.transaction():
        user = await create_user(
            ledger.auth,
            email=email,
            name="Ann",
            password_hash=await PasswordHasher(4).hash(password),
            verified_at=now if verified else None,
            now=now,
        )
        for number, slug in enumerate(tenants):
            tenant = await ledger.tenant_of(slug)
            joined = now + dt.timedelta(days=number)
            await add_membership(ledger.auth, tenant.tenant_id, user.user_id, role=role, now=joined)
    return user.user_id


async def post(api: Api, path: str, body: object, **headers: str) -> httpx.Response:
    """Send a request without any credential."""
    return await api.http.post(f"/api/v1{path}", json=body, headers=headers)


async def sign_in(api: Api, email: str = "ann@example.com", password: str = PASSWORD, **more: str) -> SignedIn:
    """Sign somebody in who has to be let in."""
    answer = await post(api, "/auth/login", {"email": email, "password": password, **more})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return SignedIn(body["access_token"], body["refresh_token"], body)


async def take_token(ledger: Ledger, kind: str, *, to: str) -> str:
    """Take the token out of the last mail to somebody."""
    text = await ledger.ingest.fetchval(
        "select body from app.outbox where recipient = $1 order by mail_id desc limit 1", to
    )
    assert text is not None, f"no mail to {to}"
    start = text.index(f"cl_{kind}_")
    token: str = text[start:].split()[0]
    return token
