"""People: how a mail address, a name and a language are written, so that one person is one row.

Source:
    RFC 5321, section 4.5.3.1 (lengths); RFC 5646 (language tags). Addresses with other letters than ASCII before the
    ``@`` (RFC 6531) are refused: mail servers that take them are few.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from analytics_core.errors import InvalidInput

__all__ = ("MAX_EMAIL", "MAX_NAME", "parse_email", "parse_locale", "parse_name")

MAX_EMAIL: Final = 254
MAX_NAME: Final = 200

_LOCAL: Final = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*", re.IGNORECASE | re.ASCII)
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_LOCALE: Final = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8}){0,4}", re.IGNORECASE | re.ASCII)


def parse_email(text: str, *, path: str = "/email") -> str:
    """Read a mail address; its domain is written as it is looked up.

    Args:
        text: As typed; space around it does not matter.
        path: Where it stands, for the error.

    Raises:
        InvalidInput: It is none that mail can be sent to.

    >>> parse_email(" Ann@Bücher.Example ")
    'Ann@xn--bcher-kva.example'
    """
    local, at, domain = text.strip().rpartition("@")
    if not at or len(text) > MAX_EMAIL * 2:
        raise InvalidInput(path, "a mail address looks like ann@example.com")
    if len(local) > 64 or not _LOCAL.fullmatch(local):
        raise InvalidInput(path, "what stands before the @ are letters without accents, digits and signs, at most 64")
    try:
        domain = domain.encode("idna").decode("ascii").lower()
    except UnicodeError:
        domain = ""
    labels = domain.split(".")
    if len(labels) < 2 or not all(_LABEL.fullmatch(label) for label in labels) or labels[-1].isdigit():
        raise InvalidInput(path, "what stands behind the @ is no domain name such as example.com")
    if len(local) + 1 + len(domain) > MAX_EMAIL:
        raise InvalidInput(path, f"a mail address has at most {MAX_EMAIL} characters")
    return f"{local}@{domain}"


def parse_name(text: str, *, path: str = "/name") -> str:
    """Read the name by which somebody wants to be called; it may be empty.

    Raises:
        InvalidInput: It is too long, or has characters that nobody can see.

    >>> parse_name("  Zoe\\u0308 O'Brien ")
    "Zoë O'Brien"
    """
    name = unicodedata.normalize("NFC", text).strip()
    if len(name) > MAX_NAME:
        raise InvalidInput(path, f"a name has at most {MAX_NAME} characters")
    if any(unicodedata.category(character) in ("Cc", "Cs", "Co", "Zl", "Zp") for character in name):
        raise InvalidInput(path, "a name has no control characters")
    return name


def parse_locale(text: str, *, path: str = "/locale") -> str:
    """Read a language tag.

    Raises:
        InvalidInput: It is none.

    >>> parse_locale("pt-BR")
    'pt-BR'
    """
    if len(text) > 35 or not _LOCALE.fullmatch(text):
        raise InvalidInput(path, "a language tag looks like en or pt-BR")
    return text
