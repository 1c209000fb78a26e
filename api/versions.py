"""Changes of what has a version: who has read another one than there is does not overwrite it."""

from __future__ import annotations

import re
from typing import Any, Final, TypeVar

from litestar import Request, Response

from api.errors import Refused

__all__ = ("answer_version", "read_version")

T = TypeVar("T")

_VERSION: Final = re.compile(r'"([1-9][0-9]{0,8})"')


def read_version(request: Request[Any, Any, Any]) -> int | None:
    """Read which version a change is about, from ``If-Match``; ``None`` when it does not matter.

    Raises:
        Refused: The header is no tag of a version.

    Source: RFC 9110 13.1.1; one strong tag, or ``*``.
    """
    given = request.headers.get("if-match", "*").strip()
    if given == "*":
        return None
    match = _VERSION.fullmatch(given)
    if match is None:
        raise Refused(400, "bad_if_match", 'If-Match has to be the ETag of a version, such as "3", or left out')
    return int(match[1])


def answer_version(answer: T, *, version: int) -> Response[T]:
    """Answer with the tag of the version that is shown."""
    return Response(answer, headers={"ETag": f'"{version}"'})
