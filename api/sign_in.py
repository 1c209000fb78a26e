"""Signing in, whichever way somebody comes: the same work and the same answer for whoever is not let in."""

from __future__ import annotations

import math
from typing import Any
from uuid import UUID

from litestar import Request

from analytics_core.addresses import network_of
from analytics_core.db.login_failures import count_attempt, forget_attempts
from analytics_core.db.users import Credentials, find_credentials, renew_hash
from analytics_core.errors import Forbidden, InvalidInput
from analytics_core.people import parse_email
from api.clients import address_of
from api.errors import TooSoon, WrongCredentials
from api.resources import resources_of

__all__ = ("attempt_subject", "check_credentials", "claim_attempt", "read_email", "settle_attempt")


def read_email(text: str) -> str:
    """Read the address that somebody gives as theirs; of one that is none, what is looked for in vain."""
    try:
        return parse_email(text)
    except InvalidInput:
        return text.strip()


def attempt_subject(request: Request[Any, Any, Any], what: str, account: str) -> UUID:
    """Name what attempts are counted by: what is tried, with which account, from which network."""
    tokens = resources_of(request).tokens
    return tokens.subject_key(what.encode(), account.casefold().encode(), network_of(address_of(request)))


async def claim_attempt(request: Request[Any, Any, Any], subject: UUID) -> None:
    """Count an attempt before it is made.

    Raises:
        TooSoon: There were too many; this one is not counted.
    """
    resources = resources_of(request)
    async with resources.database.auth() as conn:
        wait = await count_attempt(conn, subject, now=resources.clock.now())
    if wait is not None:
        raise TooSoon("too many attempts from where you are", retry_after_s=max(math.ceil(wait.total_seconds()), 1))


async def settle_attempt(request: Request[Any, Any, Any], subject: UUID) -> None:
    """Forget the attempts that came before one that was right."""
    async with resources_of(request).database.auth() as conn:
        await forget_attempts(conn, subject)


async def check_credentials(request: Request[Any, Any, Any], *, email: str, password: str) -> Credentials:
    """Find who an address and a password belong to.

    Raises:
        WrongCredentials: Nobody, or somebody who may not sign in.
        Forbidden: ``email_not_verified``: somebody who has to confirm their address first.
        TooSoon: There were too many wrong ones for this account from this network.
        Unavailable: The database does not answer, or too many are signing in.
    """
    resources = resources_of(request)
    email = read_email(email)
    subject = attempt_subject(request, "sign-in", email)
    await claim_attempt(request, subject)
    async with resources.database.auth() as conn:
        found = await find_credentials(conn, email)
    # Nobody holds a connection while this takes its time.
    stored = found.password_hash if found is not None else None
    is_right = await resources.passwords.verify(password, stored)
    if found is None or stored is None or not is_right or found.status != "active":
        raise WrongCredentials("this mail address and password do not belong together")
    renewed = await resources.passwords.hash(password) if resources.passwords.is_outdated(stored) else None
    await settle_attempt(request, subject)
    if renewed is not None:
        async with resources.database.auth() as conn:
            await renew_hash(conn, found.user_id, stored, renewed)
    if found.email_verified_at is None:
        raise Forbidden(
            "confirm your mail address first: the mail that you were sent says how", code="email_not_verified"
        )
    return found
