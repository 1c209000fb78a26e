"""Sponsors: their names, what they sell, whom to ask, and where they want to be heard."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from typing import Annotated, Final
from uuid import UUID

import msgspec

from analytics_core.countries import country_names
from analytics_core.errors import InvalidInput
from analytics_core.mail import MAX_ADDRESS, check_address

__all__ = (
    "CATEGORIES",
    "MAX_CONTACTS",
    "MAX_NAME",
    "Contact",
    "Targeting",
    "clean_text",
    "name_key",
    "parse_category",
    "parse_contacts",
    "parse_name",
    "parse_targeting",
)

MAX_NAME: Final = 200
"""Characters of a sponsor's name, and of anybody's."""
MAX_CONTACTS: Final = 20
"""People a sponsor."""

CATEGORIES: Final = (
    "adult",
    "alcohol",
    "arts",
    "business",
    "cars",
    "charity",
    "comedy",
    "crime",
    "education",
    "family",
    "fashion",
    "finance",
    "fitness",
    "food",
    "gambling",
    "games",
    "health",
    "history",
    "home",
    "insurance",
    "movies",
    "music",
    "news",
    "pets",
    "politics",
    "religion",
    "science",
    "shopping",
    "society",
    "software",
    "sports",
    "technology",
    "travel",
)
"""What a sponsor sells, and what a show is about: one list for both, so that they can be compared."""

# Marks that turn the direction of whatever follows, far beyond the name that holds them.
_TURNING: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")
_BROKEN: Final = frozenset(("Cc", "Cs", "Zl", "Zp"))
_KEY_BYTES: Final = 16

_Code = Annotated[str, msgspec.Meta(min_length=2, max_length=2)]
_Category = Annotated[str, msgspec.Meta(min_length=1, max_length=40)]


class Contact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody to ask at a sponsor's."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]
    email: Annotated[str, msgspec.Meta(min_length=3, max_length=MAX_ADDRESS)] | None = None
    phone: Annotated[str, msgspec.Meta(min_length=1, max_length=40)] | None = None
    role: Annotated[str, msgspec.Meta(min_length=1, max_length=100)] | None = None


class Targeting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a sponsor wants to be heard; an empty list does not matter.

    Attributes:
        countries: Of listeners, as two letters of ISO 3166.
        categories: Of shows.
        exclusions: Categories of shows in which it is not to be heard.
    """

    countries: Annotated[tuple[_Code, ...], msgspec.Meta(max_length=300)] = ()
    categories: Annotated[tuple[_Category, ...], msgspec.Meta(max_length=100)] = ()
    exclusions: Annotated[tuple[_Category, ...], msgspec.Meta(max_length=100)] = ()


def clean_text(text: str, *, path: str) -> str:
    """Read what people are to see in one line: composed (NFC), with single blanks.

    >>> clean_text("  Cafe\u0301   Noir ", path="/name")
    'Café Noir'

    Args:
        text: Of a bounded length already.
        path: Where it stands, for the error.

    Raises:
        InvalidInput: It holds a control character, half of a character, or a mark that turns the direction of text, or
            nothing that can be seen.
    """
    if _TURNING.search(text) or any(unicodedata.category(letter) in _BROKEN for letter in text):
        raise InvalidInput(path, "must not hold line breaks, control characters or marks of direction")
    clean = unicodedata.normalize("NFC", " ".join(text.split()))
    if all(unicodedata.category(letter) == "Cf" for letter in clean):
        raise InvalidInput(path, "has nothing in it that can be seen")
    return clean


def parse_name(text: str, *, path: str = "/name") -> str:
    """Read a sponsor's name; whatever can be seen is allowed in one.

    >>> parse_name("O'Brien; DROP TABLE app.links")
    "O'Brien; DROP TABLE app.links"

    Args:
        text: As somebody writes it.
        path: Where it stands, for the error.

    Raises:
        InvalidInput: As :func:`clean_text`, or it is too long.
    """
    name = clean_text(text, path=path)
    if len(name) > MAX_NAME:
        raise InvalidInput(path, f"has more than {MAX_NAME} characters")
    return name


def name_key(name: str) -> UUID:
    """Make the key by which names are told apart: without regard to case, to forms of letters, and to what is unseen.

    >>> name_key("Straße \uff21\u200b") == name_key("STRASSE a")
    True

    Args:
        name: As :func:`parse_name` returns it.

    Source: Unicode 3.13, identifier caseless matching (NFKC, case folding, without marks that cannot be seen).
    """
    seen = "".join(letter for letter in name if unicodedata.category(letter) != "Cf")
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", seen).casefold())
    text = " ".join(folded.split())
    return UUID(bytes=hashlib.blake2b(text.encode(), digest_size=_KEY_BYTES, person=b"sponsor name").digest())


def parse_category(text: str, *, path: str = "/category") -> str:
    """Read a category.

    Raises:
        InvalidInput: ``unknown_category``, with those that there are.

    >>> parse_category("Travel")
    'travel'
    """
    category = text.lower()
    if category not in CATEGORIES:
        raise InvalidInput(
            path, f"there is no category {text[:40]!r}; there are {', '.join(CATEGORIES)}", code="unknown_category"
        )
    return category


def _parse_country(text: str, *, path: str) -> str:
    code = text.upper()
    known = country_names()
    if code not in known:
        raise InvalidInput(
            path, f"there is no country {text[:2]!r} (ISO 3166); there are {', '.join(known)}", code="unknown_country"
        )
    return code


def parse_targeting(given: Targeting, *, path: str = "/targeting") -> Targeting:
    """Check where a sponsor wants to be heard; each list is put in order, without repetition.

    >>> parse_targeting(Targeting(countries=("de", "AT", "DE"))).countries
    ('AT', 'DE')

    Raises:
        InvalidInput: ``unknown_country`` or ``unknown_category``, with what there is; ``contradictory`` where a
            category is wanted and excluded.
    """
    countries = {_parse_country(text, path=f"{path}/countries/{place}") for place, text in enumerate(given.countries)}
    categories = _parse_categories(given.categories, path=f"{path}/categories")
    exclusions = _parse_categories(given.exclusions, path=f"{path}/exclusions")
    if both := categories & exclusions:
        raise InvalidInput(
            f"{path}/exclusions", f"is contradictory: {min(both)} is among the categories", code="contradictory"
        )
    return Targeting(
        countries=tuple(sorted(countries)),
        categories=tuple(sorted(categories)),
        exclusions=tuple(sorted(exclusions)),
    )


def _parse_categories(texts: Iterable[str], *, path: str) -> set[str]:
    return {parse_category(text, path=f"{path}/{place}") for place, text in enumerate(texts)}


def parse_contacts(given: Iterable[Contact], *, path: str = "/contacts") -> tuple[Contact, ...]:
    """Check whom to ask at a sponsor's, in the order given.

    Raises:
        InvalidInput: A name cannot be shown, or a mail address is none.
    """
    return tuple(_parse_contact(contact, path=f"{path}/{place}") for place, contact in enumerate(given))


def _parse_contact(contact: Contact, *, path: str) -> Contact:
    return Contact(
        name=parse_name(contact.name, path=f"{path}/name"),
        email=None if contact.email is None else check_address(contact.email, path=f"{path}/email"),
        phone=None if contact.phone is None else clean_text(contact.phone, path=f"{path}/phone"),
        role=None if contact.role is None else clean_text(contact.role, path=f"{path}/role"),
    )
