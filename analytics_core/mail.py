"""A mail as we send it: plain text to one person, with nothing in it that could become a header.

Source: RFC 5321 4.5.3.1 (sizes), RFC 5322 2.2 (a header ends with its line).
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from analytics_core.errors import InvalidInput

__all__ = ("MAX_ADDRESS", "MAX_SUBJECT", "MAX_TEXT", "Mail", "Sender", "check_address", "parse_sender", "quote_line")

MAX_ADDRESS: Final = 254
"""Characters of an address: a path of 256 with its angle brackets (RFC 5321, erratum 1690)."""
MAX_SUBJECT: Final = 200
"""Characters of a subject."""
MAX_TEXT: Final = 20_000
"""Characters of a text."""

_MAX_LOCAL: Final = 64
_MAX_QUOTED: Final = 80
# Who is written to has typed the address; quoted local parts and address literals nobody types.
_ADDRESS: Final = re.compile(
    r"[^\s\x00-\x1f\x7f-\x9f@\"(),:;<>\[\\\]]+@(?=[^@]{3,253}\Z)"
    r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+[^\W\d_](?:[\w-]{0,61}[^\W_])?"
)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def check_address(text: str, *, path: str = "to") -> str:
    """Return an address that can be written to, unchanged.

    >>> check_address("ana@example.com")
    'ana@example.com'

    Args:
        text: Such as ``ana@example.com``; no name, no angle brackets.
        path: Where it stands, for the error.

    Raises:
        InvalidInput: It is none, is too long, or holds characters that end a line.
    """
    local = text.partition("@")[0]
    if len(text) > MAX_ADDRESS or len(local) > _MAX_LOCAL or not _ADDRESS.fullmatch(text):
        raise InvalidInput(path, "is no mail address such as ana@example.com")
    if local.startswith(".") or local.endswith(".") or ".." in local:
        raise InvalidInput(path, "is no mail address: a dot begins, ends or is doubled")
    return text


class Sender(msgspec.Struct, frozen=True):
    """Who our mail is from: an address, and a name that may be empty."""

    name: str
    address: str


def parse_sender(text: str) -> Sender:
    """Read who mail is from, with or without a name.

    >>> parse_sender("Castledger <ledger@example.org>")
    Sender(name='Castledger', address='ledger@example.org')

    Raises:
        InvalidInput: It is no address, or the name is too long or no line.
    """
    name, bracket, rest = text.strip().rpartition("<")
    if not bracket:
        return Sender("", check_address(rest, path="from"))
    name = name.strip().removeprefix('"').removesuffix('"')
    if len(name) > MAX_SUBJECT or _CONTROL.search(name) or "<" in name or not rest.endswith(">"):
        raise InvalidInput("from", f"is no address with a name of at most {MAX_SUBJECT} characters in front")
    return Sender(name, check_address(rest.removesuffix(">"), path="from"))


class Mail(msgspec.Struct, frozen=True):
    """A mail to one person; one that is made can be sent.

    Attributes:
        to: An address, without a name.
        subject: One line.
        text: Lines apart by ``\\n``.

    Raises:
        InvalidInput: A part is empty, too long, or holds what would begin another header.
    """

    to: str
    subject: str
    text: str

    def __post_init__(self) -> None:
        check_address(self.to)
        if not 1 <= len(self.subject) <= MAX_SUBJECT or _CONTROL.search(self.subject):
            raise InvalidInput("subject", f"has to be one line of 1 to {MAX_SUBJECT} characters")
        if not 1 <= len(self.text) <= MAX_TEXT or _CONTROL.search(self.text.replace("\n", "").replace("\t", "")):
            raise InvalidInput("text", f"has to be 1 to {MAX_TEXT} characters without control characters")


def quote_line(text: str) -> str:
    """Cut anybody's words to a line that cannot pass for our own.

    >>> quote_line("Acme\\n\\nClick here")
    '“Acme Click here”'
    """
    words = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return f"“{words[:_MAX_QUOTED]}”"
