"""What we write to people about their account: plain text, one thing a mail, nothing that anybody else has typed."""

from __future__ import annotations

from typing import Final

from analytics_core.mail import Mail

__all__ = ("mail_password_changed", "mail_registered_already", "mail_reset", "mail_verification", "say_way")

_NOT_YOU: Final = "If this was not you, there is nothing to do."


def say_way(public_url: str, page: str, token: str, *, path: str, fields: str) -> str:
    """Say where a token is to be used: on the page, or, where nobody knows its address, over the API."""
    if public_url:
        return f"{public_url}/{page}?token={token}"
    return f"POST /api/v1{path} with {{{fields}}}, where the token is\n\n{token}"


def mail_verification(to: str, token: str, *, public_url: str) -> Mail:
    """Write the mail that proves an address."""
    way = say_way(public_url, "verify-email", token, path="/auth/verify", fields='"token": "…"')
    return Mail(
        to,
        "Confirm your mail address for Castledger",
        "Somebody, you we hope, has registered with this mail address. To confirm that it is yours, within 24 hours:"
        f"\n\n{way}\n\n{_NOT_YOU}\n",
    )


def mail_registered_already(to: str, *, public_url: str) -> Mail:
    """Write to somebody whose address was registered once more."""
    where = f" at {public_url}" if public_url else ""
    return Mail(
        to,
        "You are registered with Castledger already",
        "Somebody, you we hope, wanted to register with this mail address, which is registered already. Sign "
        f"in{where}, and ask for a new password where you have forgotten yours.\n\n{_NOT_YOU}\n",
    )


def mail_reset(to: str, token: str, *, public_url: str) -> Mail:
    """Write the mail with which a password is set anew."""
    way = say_way(
        public_url, "reset-password", token, path="/auth/password/reset", fields='"token": "…", "password": "…"'
    )
    return Mail(
        to,
        "Set a new password for Castledger",
        f"Somebody, you we hope, has asked for a new password. To set one, within an hour:\n\n{way}\n\n"
        f"{_NOT_YOU} Your password stays what it is.\n",
    )


def mail_password_changed(to: str) -> Mail:
    """Write to somebody whose password was changed."""
    return Mail(
        to,
        "Your Castledger password was changed",
        "Your password was changed, and everybody who was signed in as you has to sign in again.\n\n"
        "If this was not you, ask for a new password at once, and tell whoever runs your Castledger.\n",
    )
