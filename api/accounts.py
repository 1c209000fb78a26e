"""What the tokens do that were mailed to somebody, whether they come over the API or from the page."""

from __future__ import annotations

from typing import Any

from litestar import Request

from analytics_core.db.auth_tokens import Purpose, find_token, forget_tokens, make_token, use_token
from analytics_core.db.memberships import list_own_tenants
from analytics_core.db.outbox import queue_mail
from analytics_core.db.user_sessions import end_sessions
from analytics_core.db.users import find_credentials, find_user, set_password, verify_email
from analytics_core.errors import InvalidInput
from analytics_core.passwords import check_password
from analytics_core.people_mail import mail_password_changed, mail_reset
from api.errors import TooSoon
from api.resources import resources_of
from api.sign_in import attempt_subject, claim_attempt, read_email
from api.writing import writing_own

__all__ = ("confirm_email", "mail_new_reset", "reset_with_token")


def _bad_token() -> InvalidInput:
    return InvalidInput("/token", "is unknown, was used, or is too old: have another one sent", code="bad_token")


async def confirm_email(request: Request[Any, Any, Any], token: str) -> None:
    """Note that a mail address is whose it says it is.

    Raises:
        InvalidInput: The token is not good.
    """
    now = resources_of(request).clock.now()
    async with writing_own(request, "user.verify") as work:
        user_id = await use_token(work.conn, token, Purpose.VERIFY, now=now)
        if user_id is None:
            raise _bad_token()
        await verify_email(work.conn, user_id, now=now)
        work.done(user_id, tenants=await list_own_tenants(work.conn, user_id))


async def mail_new_reset(request: Request[Any, Any, Any], email: str) -> None:
    """Send somebody a token with which they set a new password; nobody is told whether there is such an account.

    It stands in no record, as anybody may ask.
    """
    resources = resources_of(request)
    email, now = read_email(email), resources.clock.now()
    try:
        await claim_attempt(request, attempt_subject(request, "forgot", email))
    except TooSoon:
        return
    async with writing_own(request, "password.forget") as work:
        found = await find_credentials(work.conn, email)
        if found is not None and found.status == "active":
            token = await make_token(work.conn, found.user_id, Purpose.RESET, now=now)
            if token is not None:
                public_url = resources.settings.people.public_url
                await queue_mail(work.conn, mail_reset(found.email, token, public_url=public_url), now=now)


async def reset_with_token(request: Request[Any, Any, Any], token: str, password: str) -> None:
    """Set a new password; all sessions end, and the mail address counts as confirmed.

    Raises:
        InvalidInput: The token is not good, or the password cannot be used; the token can then be used again.
        Unavailable: Too many passwords are being hashed.
    """
    resources = resources_of(request)
    now = resources.clock.now()
    async with resources.database.auth() as conn:
        user_id = await find_token(conn, token, Purpose.RESET, now=now)
        user = await find_user(conn, user_id) if user_id is not None else None
    if user is None or user.email is None or user.status != "active":
        raise _bad_token()
    check_password(password, context=(user.email, user.name))
    password_hash = await resources.passwords.hash(password)
    async with writing_own(request, "password.reset") as work:
        if await use_token(work.conn, token, Purpose.RESET, now=now) is None:
            raise _bad_token()
        await forget_tokens(work.conn, user.user_id, Purpose.RESET, now=now)
        await verify_email(work.conn, user.user_id, now=now)
        await set_password(work.conn, user.user_id, password_hash, now=now)
        await end_sessions(work.conn, user.user_id)
        await queue_mail(work.conn, mail_password_changed(user.email), now=now)
        work.done(user.user_id, tenants=await list_own_tenants(work.conn, user.user_id))
