"""How the in-memory server answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import httpx
import msgspec

__all__ = ("Problem", "answer", "fault")

_REQUEST_ID: Final = "00000000-0000-0000-0000-000000000000"


class Problem(Exception):
    """A request is refused.

    Args:
        status: HTTP status.
        code: For programs.
        detail: For people.
        errors: What is wrong, one by one.
        retry_after: Seconds.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: tuple[Mapping[str, str], ...] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        self._body = {
            "type": "about:blank",
            "title": code.replace("_", " ").capitalize(),
            "status": status,
            "detail": detail,
            "code": code,
            "request_id": _REQUEST_ID,
            "errors": list(errors),
        }
        self._status = status
        self._retry_after = retry_after

    def answer(self) -> httpx.Response:
        """Write it as the services do (RFC 9457)."""
        headers = {"Content-Type": "application/problem+json"}
        if self._retry_after is not None:
            headers["Retry-After"] = f"{self._retry_after:g}"
        return httpx.Response(self._status, content=msgspec.json.encode(self._body), headers=headers)


def answer(status: int, body: Any) -> httpx.Response:
    """Answer with JSON."""
    headers = {"Content-Type": "application/json", "X-Request-Id": _REQUEST_ID}
    return httpx.Response(status, content=msgspec.json.encode(body), headers=headers)


def fault(pointer: str, code: str, message: str) -> Problem:
    """Refuse one value of a request."""
    errors = ({"pointer": pointer, "code": code, "message": message},)
    return Problem(422, code, f"{pointer}: {message}", errors=errors)
