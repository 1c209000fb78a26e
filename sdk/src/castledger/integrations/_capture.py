"""Which click and which promo code a request brings, how they are remembered, and who is told, for any framework."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, Final, Generic, NamedTuple, TypeVar
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit
from uuid import UUID

import msgspec

from castledger._errors import ConfigurationError
from castledger._events import MAX_PROMO_CHARS
from castledger.urls import MAX_UTM_CHARS, UTM, format_click_id, parse_click_id

__all__ = (
    "Attribution",
    "Capture",
    "Streamed",
    "Visit",
    "attributed",
    "current",
    "format_cookie",
    "parse_cookie",
    "streamed",
)

# Longer queries belong to no link that somebody follows, and reading them would cost.
_MAX_QUERY_CHARS: Final = 8192
_MAX_FIELDS: Final = 100
# A cookie with all its attributes has at most 4,096 bytes. Escaped, a code takes up to 768 of them, an address three
# times its length, a referrer up to 800.
_MAX_URL_CHARS: Final = 512
_MAX_HOST_CHARS: Final = 255
_UTM: Final = frozenset(f"utm_{name}" for name in UTM)
_SAFE_IN_PATH: Final = "/:@!$&'()*+=~-._"
_DAY_S: Final = 86_400
_COOKIE_VERSION: Final = "1"
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HOST: Final = r"(?:[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?"
_NETLOC: Final = re.compile(_HOST)
_ADDRESS: Final = re.compile(rf"https?://{_HOST}/[\x21-\x7e]*")
T = TypeVar("T")


class Attribution(msgspec.Struct, frozen=True, kw_only=True):
    """Where a visit came from.

    Attributes:
        click_id: The click on a link of ours that led here.
        promo_code: As the address had it.
        landing_url: The page on which the visit began, so far as it is known, with its campaign parameters alone.
        referrer: The site before that, without path and query; ``None`` within one's own site.
    """

    click_id: UUID | None = None
    promo_code: str | None = None
    landing_url: str | None = None
    referrer: str | None = None

    def fields(self) -> dict[str, Any]:
        """Give the arguments for ``track``; all are text, so that they can travel in a task's message.

        >>> Attribution(promo_code="SAVE20").fields()
        {'promo_code': 'SAVE20'}
        """
        # The values' type is Any, since a checker would hold text against each of `track`'s arguments.
        found = {
            "click_id": None if self.click_id is None else format_click_id(self.click_id),
            "promo_code": self.promo_code,
            "url": self.landing_url,
            "referrer": self.referrer,
        }
        return {name: value for name, value in found.items() if value is not None}


class Visit(NamedTuple):
    """A request's attribution, and its answer's header ``Set-Cookie``, where it is to have one."""

    attribution: Attribution
    set_cookie: str | None


def _parse_click_id(text: str) -> UUID | None:
    """Read an id as links write it, or a UUID as text."""
    if len(text) not in (32, 36):
        return parse_click_id(text)
    try:
        return UUID(text)
    except ValueError:
        return None


def _parse_promo_code(text: str) -> str | None:
    code = text.strip()
    return code if 0 < len(code) <= MAX_PROMO_CHARS and code.isprintable() and "\ufffd" not in code else None


def _pairs(query: str) -> list[tuple[str, str]]:
    if len(query) > _MAX_QUERY_CHARS:
        return []
    try:
        return parse_qsl(query, max_num_fields=_MAX_FIELDS, errors="replace")
    except ValueError:
        return []


def _address(text: str) -> str | None:
    return text if len(text) <= _MAX_URL_CHARS and _ADDRESS.fullmatch(text) else None


def _landing_url(scheme: str, host: str, path: str, pairs: list[tuple[str, str]]) -> str | None:
    """Write a page's address without what its query may hold of people and secrets."""
    if _NETLOC.fullmatch(host) is None:
        return None
    url = f"{scheme}://{host}{quote(path or '/', safe=_SAFE_IN_PATH, errors='replace')}"
    utm = {name: value for name, value in pairs if name in _UTM and len(value) <= MAX_UTM_CHARS}
    query = urlencode(utm, errors="replace")
    return (_address(f"{url}?{query}") if query else None) or _address(url)


def _referrer(text: str, host: str) -> str | None:
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    name = parts.netloc.lower()
    if parts.scheme not in ("http", "https") or name == host or len(name) > _MAX_HOST_CHARS:
        return None
    return f"{parts.scheme}://{name}/" if _NETLOC.fullmatch(name) else None


def format_cookie(attribution: Attribution) -> str:
    """Write the cookie's value, in characters that no framework has to quote.

    >>> format_cookie(Attribution(promo_code="SAVE 20"))
    '1::SAVE%2020::'
    """
    click_id = "" if attribution.click_id is None else format_click_id(attribution.click_id)
    texts = (click_id, attribution.promo_code, attribution.landing_url, attribution.referrer)
    return ":".join((_COOKIE_VERSION, *(quote(text or "", safe="") for text in texts)))


def parse_cookie(value: str) -> Attribution | None:
    """Read what :func:`format_cookie` wrote; the visitor may have changed it, so it is held to the same rules."""
    version, *parts = value.split(":")
    if version != _COOKIE_VERSION or len(parts) != 4:
        return None
    click_id, promo_code, landing_url, referrer = (unquote(part, errors="replace") for part in parts)
    found = Attribution(
        click_id=_parse_click_id(click_id),
        promo_code=_parse_promo_code(promo_code),
        landing_url=_address(landing_url),
        referrer=_address(referrer),
    )
    return found if format_cookie(found) == value else None


def _find_cookie(header: str, name: str) -> str | None:
    for part in header.split(";"):
        found, equals, value = part.strip().partition("=")
        if equals and found == name:
            return value.strip('"')
    return None


class Capture:
    """What is captured, and whether it is remembered.

    Args:
        click_parameters: Under which names a click's id may stand in an address.
        promo_parameters: Likewise for a promo code. ``code`` beside ``state`` is a sign-in's, and never taken.
        remember: Whether a cookie keeps it for later requests; never for visitors who send ``DNT: 1`` or
            ``Sec-GPC: 1``.
        cookie: The cookie's name.
        days: How long it is kept.

    Raises:
        ConfigurationError: Something of this cannot work.
    """

    def __init__(
        self,
        *,
        click_parameters: Iterable[str] = ("cl_click",),
        promo_parameters: Iterable[str] = ("promo", "code"),
        remember: bool = False,
        cookie: str = "cl_attribution",
        days: int = 30,
    ) -> None:
        for option, names in (("click_parameters", click_parameters), ("promo_parameters", promo_parameters)):
            if isinstance(names, str):
                raise ConfigurationError(f'{option}: is a list of names, such as ["{names}"]')
        if not _TOKEN.fullmatch(cookie):
            raise ConfigurationError("cookie: has to be a cookie's name: letters, digits, _ and -")
        if not 1 <= days <= 400:
            raise ConfigurationError("days: is a number from 1 to 400, which browsers keep a cookie at most")
        self._click_parameters = tuple(click_parameters)
        self._promo_parameters = tuple(promo_parameters)
        self._remember = remember
        self._cookie = cookie
        self._max_age_s = days * _DAY_S

    def read(self, *, scheme: str, path: str, query: str, headers: Mapping[str, str]) -> Visit:
        """Read a request. Whatever is malformed is ignored: a visitor may send anything.

        Args:
            scheme: ``http`` or ``https``.
            path: Percent-decoded, as frameworks give it.
            query: As it was sent.
            headers: By name in lower case; read are ``host``, ``referer``, ``cookie``, ``dnt`` and ``sec-gpc``.
        """
        asked = self._asked(scheme, path, query, headers)
        if not self._remember:
            return Visit(asked, None)
        value = _find_cookie(headers.get("cookie", ""), self._cookie)
        if "1" in (headers.get("dnt"), headers.get("sec-gpc")):
            return Visit(asked, None if value is None else self._set_cookie("", 0, scheme))
        remembered = None if value is None else parse_cookie(value)
        if asked.click_id is None and asked.promo_code is None:
            return Visit(remembered or asked, None)
        if asked.click_id is None and remembered is not None:
            # A code on the way to the till belongs to the visit; another click begins a new one.
            asked = msgspec.structs.replace(remembered, promo_code=asked.promo_code)
        return Visit(asked, self._set_cookie(format_cookie(asked), self._max_age_s, scheme))

    def _set_cookie(self, value: str, max_age_s: int, scheme: str) -> str:
        secure = "; Secure" if scheme == "https" else ""
        return f"{self._cookie}={value}; Max-Age={max_age_s}; Path=/; HttpOnly; SameSite=Lax{secure}"

    def _asked(self, scheme: str, path: str, query: str, headers: Mapping[str, str]) -> Attribution:
        pairs = _pairs(query)
        names = {name for name, _ in pairs}
        promo_parameters = [one for one in self._promo_parameters if one != "code" or "state" not in names]
        click_ids = (_parse_click_id(value) for name, value in pairs if name in self._click_parameters)
        promo_codes = (_parse_promo_code(value) for name, value in pairs if name in promo_parameters)
        host = headers.get("host", "").lower()
        return Attribution(
            click_id=next((one for one in click_ids if one is not None), None),
            promo_code=next((one for one in promo_codes if one is not None), None),
            landing_url=_landing_url(scheme, host, path, pairs),
            referrer=_referrer(headers.get("referer", ""), host),
        )


_current: Final[ContextVar[Attribution]] = ContextVar("castledger_attribution")
_NONE: Final = Attribution()


def current() -> Attribution:
    """Tell where the visit came from whose request is being served; empty outside of one.

    >>> current().fields()
    {}
    """
    return _current.get(_NONE)


@contextlib.contextmanager
def attributed(attribution: Attribution) -> Iterator[None]:
    """Have :func:`current` give this one: in what serves a request, or in a test of it."""
    token = _current.set(attribution)
    try:
        yield
    finally:
        _current.reset(token)


class Streamed(Generic[T]):
    """An answer that is made while it is sent, each piece with the request's attribution."""

    def __init__(self, attribution: Attribution, pieces: Iterable[T]) -> None:
        self._attribution = attribution
        self._pieces = pieces
        self._iterator = iter(pieces)

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        with attributed(self._attribution):
            return next(self._iterator)

    def close(self) -> None:
        """Close the answer, as servers do after the last piece or when the visitor has left."""
        close = getattr(self._pieces, "close", None)
        if close is not None:
            with attributed(self._attribution):
                close()


async def streamed(attribution: Attribution, pieces: AsyncIterable[T]) -> AsyncIterator[T]:
    """Go through an answer as :class:`Streamed` does."""
    iterator = aiter(pieces)
    while True:
        with attributed(attribution):
            try:
                piece = await anext(iterator)
            except StopAsyncIteration:
                return
        yield piece
