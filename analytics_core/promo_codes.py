"""Promo codes: what one may be, how what customers enter is compared with it, and when it counts.

A code is said aloud in an episode and typed by somebody who has only heard it: hence an alphabet in which no two
letters are mistaken for one another, and a comparison that is not about case, blanks and hyphens.
"""

from __future__ import annotations

import datetime as dt
import enum
import functools
import re
import secrets
from collections.abc import Callable, Container
from importlib.resources import files
from typing import Final, NamedTuple

from analytics_core.errors import InvalidInput

__all__ = (
    "ALPHABET",
    "DEFAULT_RANDOM",
    "FOLD_FROM",
    "FOLD_TO",
    "MAX_CODE",
    "MAX_CODES_AT_ONCE",
    "MAX_ENTERED",
    "MAX_PREFIX",
    "MAX_RANDOM",
    "MIN_RANDOM",
    "Validity",
    "fold_code",
    "is_blocked",
    "new_codes",
    "parse_code",
    "parse_entered_code",
    "parse_prefix",
    "validity_at",
)

ALPHABET: Final = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
"""Of codes that are made: without 0, 1, I, L and O, which are mistaken for one another."""

MIN_RANDOM: Final = 5
MAX_RANDOM: Final = 12
DEFAULT_RANDOM: Final = 8
MAX_CODE: Final = 32
MAX_PREFIX: Final = MAX_CODE - MAX_RANDOM
MAX_ENTERED: Final = 64
"""Characters of a code as somebody enters it, with all that is ignored."""
MAX_CODES_AT_ONCE: Final = 1000

_LOWER: Final = "abcdefghijklmnopqrstuvwxyz"
_UPPER: Final = _LOWER.upper()
_DIGITS: Final = "0123456789"
# As keyboards for Chinese and Japanese write them.
_WIDE: Final = "".join(chr(ord(letter) + 0xFEE0) for letter in _UPPER + _LOWER + _DIGITS)
# Blanks, hyphens and dashes that keyboards and web pages put in by themselves, and what nobody sees.
_IGNORED: Final = (
    " \t\r\n\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
    "-\u00ad\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u200b\u200c\u200d\u2060\ufeff"
)

FOLD_FROM: Final = _LOWER + _WIDE + _IGNORED
"""What :func:`fold_code` changes, and PostgreSQL's ``translate`` likewise: characters without a partner go."""
FOLD_TO: Final = _UPPER + _UPPER + _UPPER + _DIGITS

_FOLD: Final = str.maketrans(FOLD_FROM[: len(FOLD_TO)], FOLD_TO, _IGNORED)
_CODE: Final = re.compile(r"[A-Z0-9]{3,32}")
_PREFIX: Final = re.compile(r"[A-Z0-9]{0,20}")
# Digits that are read as letters.
_READ_AS: Final = str.maketrans("013457", "OIEAST")
_RUN: Final = re.compile(r"[A-Z]+")


class Validity(enum.StrEnum):
    """What a code is worth at an instant."""

    VALID = "valid"
    LATE = "late"
    """Its time is over, and its grace is not."""
    NONE = "none"


class _Words(NamedTuple):
    anywhere: tuple[str, ...]
    alone: frozenset[str]


@functools.cache
def _words() -> _Words:
    text = (files("analytics_core") / "blocked_words.txt").read_text(encoding="utf-8")
    words = [line for line in text.splitlines() if line and not line.startswith("#")]
    return _Words(
        tuple(word for word in words if not word.startswith("=")),
        frozenset(word[1:] for word in words if word.startswith("=")),
    )


def fold_code(text: str) -> str:
    """Write a code as it is compared: without blanks, hyphens and dashes, in capitals.

    Whatever else stands in it stays, so that it equals no code rather than a wrong one.

    >>> fold_code(" save-20 "), fold_code("säve20")
    ('SAVE20', 'SäVE20')
    """
    return text.translate(_FOLD)


def is_blocked(code: str) -> bool:
    """Say whether a code holds a word that nobody wants to hear, also where digits stand for letters.

    >>> is_blocked("SH1T20"), is_blocked("ASS20"), is_blocked("CLASS20")
    (True, True, False)

    Args:
        code: As :func:`fold_code` writes it.
    """
    words, read = _words(), code.translate(_READ_AS)
    if any(word in read for word in words.anywhere):
        return True
    return not words.alone.isdisjoint((*_RUN.findall(code), *_RUN.findall(read)))


def parse_entered_code(text: str, *, path: str = "code") -> str:
    """Read a code that somebody asks about; it need not be one that may be made.

    Raises:
        InvalidInput: ``code_invalid``: it is none.
    """
    code = fold_code(text)
    if not _CODE.fullmatch(code):
        raise InvalidInput(
            path,
            "has 3 to 32 letters A to Z and digits; case, blanks and hyphens make no difference",
            code="code_invalid",
        )
    return code


def parse_code(text: str, *, path: str = "code") -> str:
    """Read a code that somebody has chosen.

    >>> parse_code("Save-20")
    'SAVE20'

    Args:
        text: However it is written.
        path: Where it stands, for the error.

    Raises:
        InvalidInput: ``code_invalid``, or ``code_blocked``.
    """
    code = parse_entered_code(text, path=path)
    if is_blocked(code):
        raise InvalidInput(path, "holds a word that nobody wants to say aloud; choose another", code="code_blocked")
    return code


def parse_prefix(text: str, *, path: str = "prefix") -> str:
    """Read what codes that are made begin with.

    Raises:
        InvalidInput: ``code_invalid``, or ``code_blocked``.
    """
    prefix = fold_code(text)
    if not _PREFIX.fullmatch(prefix):
        raise InvalidInput(path, f"has up to {MAX_PREFIX} letters A to Z and digits", code="code_invalid")
    if is_blocked(prefix):
        raise InvalidInput(path, "holds a word that nobody wants to say aloud; choose another", code="code_blocked")
    return prefix


def _is_decent(prefix: str, drawn: str) -> bool:
    # Nobody has chosen what was drawn: no decent word is lost where it holds an indecent one.
    return not is_blocked(prefix + drawn) and not any(word in drawn.translate(_READ_AS) for word in _words().alone)


def new_codes(
    count: int,
    *,
    prefix: str = "",
    length: int = DEFAULT_RANDOM,
    taken: Container[str] = frozenset(),
    choose: Callable[[str], str] = secrets.choice,
) -> list[str]:
    """Make codes that nobody guesses and nobody mishears, each another.

    Args:
        count: How many.
        prefix: What they begin with, as :func:`parse_prefix` writes it.
        length: How many random characters follow, 5 to 12: of 8 there are 850,000,000,000.
        taken: Codes that are none of them.
        choose: Picks one character of an alphabet.
    """
    made: dict[str, None] = {}
    while len(made) < count:
        drawn = "".join(choose(ALPHABET) for _ in range(length))
        code = prefix + drawn
        if code not in made and code not in taken and _is_decent(prefix, drawn):
            made[code] = None
    return list(made)


def validity_at(
    at: dt.datetime, *, valid_from: dt.datetime, valid_until: dt.datetime | None, grace_days: int
) -> Validity:
    """Say what a code is worth at an instant.

    Args:
        at: When it was redeemed; all instants are aware.
        valid_from: From when on it is valid.
        valid_until: From when on it is not any more; ``None`` for a code without an end. Where it equals *valid_from*,
            the code was put away before its time and never valid.
        grace_days: For how many days of 24 hours after its end a redemption still counts, as a late one.
    """
    if at < valid_from or (valid_until is not None and valid_until <= valid_from):
        return Validity.NONE
    if valid_until is None or at < valid_until:
        return Validity.VALID
    return Validity.LATE if at < valid_until + dt.timedelta(days=grace_days) else Validity.NONE
