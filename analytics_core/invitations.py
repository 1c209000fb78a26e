"""Invitations: their tokens, their time, and the mail that brings them."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import secrets
from typing import Final

from analytics_core.errors import NotKept
from analytics_core.mail import Mail, quote_line
from analytics_core.people_mail import say_way

__all__ = ("LIFETIME", "InvitationEnded", "hash_token", "invitation_mail", "is_token", "new_token")

LIFETIME: Final = dt.timedelta(days=7)
"""How long an invitation can be accepted."""

_PREFIX: Final = "cl_inv_"
_TOKEN: Final = re.compile(rf"{_PREFIX}[A-Za-z0-9_-]{{43}}")


class InvitationEnded(NotKept):
    """An invitation was good, and its time is over or it was accepted."""

    code = "invitation_ended"


def new_token() -> str:
    """Make a token: 256 random bits."""
    return _PREFIX + secrets.token_urlsafe(32)


def is_token(text: str) -> bool:
    """Tell whether a text has the form of a token."""
    return _TOKEN.fullmatch(text) is not None


def hash_token(token: str) -> bytes:
    """Return what is kept of a token."""
    return hashlib.sha256(token.encode()).digest()


def invitation_mail(to: str, token: str, *, tenant: str, role: str, expires_at: dt.datetime, public_url: str) -> Mail:
    """Write the mail that invites somebody.

    Args:
        to: Their address.
        token: With which they accept.
        tenant: The tenant's name, which is anybody's words: one line of it is told.
        role: The name of what they would be.
        expires_at: Until when.
        public_url: Where the page is; empty where nobody knows.
    """
    fields = '"token": "…", "password": "…", "name": "…"'
    link = say_way(public_url, "invitation", token, path="/auth/invitations/accept", fields=fields)
    title = quote_line(tenant)
    until = f"{expires_at.astimezone(dt.UTC):%d %B %Y, %H:%M} UTC"
    text = (
        f"You are invited to {title} on Castledger, as {quote_line(role)}.\n\n"
        f"To accept:\n\n{link}\n\n"
        f"It is good until {until}, once, and for you alone: do not pass it on.\n"
        "If you do not know what this is about, leave it be; nothing happens.\n"
    )
    return Mail(to, f"Invitation to {title}", text)
