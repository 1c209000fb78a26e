"""Entity tags of figures: who has seen a version of them is told that it is still the one, without adding up again.

Tags are weak. They stand for the figures and for all that is said about them but the cutoff where that lies behind the
range already: it moves all the time, and a client that keeps an earlier one has no figure that is less true.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final, TypeVar

import msgspec
from litestar import Request, Response

from analytics_core.software import software_version

__all__ = ("answer_unchanged", "answer_with", "tag_of")

T = TypeVar("T")

_TAG: Final = re.compile(r'(?:W/)?"([^"]*)"')
_MAX_CHARS: Final = 4096


def _digest(kind: bytes, content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16, person=kind).hexdigest()


def tag_of(*parts: Any) -> str:
    """Make a tag of what figures follow from; the software is part of it, as the next one may count otherwise."""
    return _digest(b"version", msgspec.json.encode([software_version(), *parts]))


def _headers(tag: str) -> dict[str, str]:
    return {"ETag": f'W/"{tag}"', "Cache-Control": "private, no-cache", "Vary": "Authorization"}


def _is_known(request: Request[Any, Any, Any], tag: str) -> bool:
    given = request.headers.get("if-none-match", "")[:_MAX_CHARS]
    return given.strip() == "*" or tag in _TAG.findall(given)


def answer_unchanged(request: Request[Any, Any, Any], tag: str | None) -> Response[Any] | None:
    """Answer 304 when the client has this version already; ``None`` when it has not, or there is no version."""
    if tag is None or not _is_known(request, tag):
        return None
    return Response(None, status_code=304, headers=_headers(tag))


def answer_with(request: Request[Any, Any, Any], answer: T, *, tag: str | None = None) -> Response[T]:
    """Answer with a tag: the version's, else one of the answer's own content, for which it had to be made.

    Args:
        request: What is answered.
        answer: The answer.
        tag: As :func:`tag_of` made it.
    """
    body = msgspec.json.encode(answer)
    if tag is None:
        tag = _digest(b"content", body)
        if _is_known(request, tag):
            return Response(None, status_code=304, headers=_headers(tag))  # type: ignore[arg-type]  # without a body
    response: Response[Any] = Response(body, media_type="application/json", headers=_headers(tag))
    return response
