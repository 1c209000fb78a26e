"""For any WSGI framework; Flask among them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from castledger.integrations._capture import Capture
from castledger.integrations._context import Streamed, attributed

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ("AttributionMiddleware",)

_HEADERS = {
    "host": "HTTP_HOST",
    "referer": "HTTP_REFERER",
    "cookie": "HTTP_COOKIE",
    "dnt": "HTTP_DNT",
    "sec-gpc": "HTTP_SEC_GPC",
}


class AttributionMiddleware:
    """Capture the click and the promo code of each request.

    Args:
        app: The application.
        options: As of :class:`~castledger.integrations.Capture`.

    Raises:
        ConfigurationError: An option cannot work.
    """

    def __init__(self, app: WSGIApplication, **options: Any) -> None:
        self._app = app
        self._capture = Capture(**options)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        visit = self._capture.read(
            scheme=environ["wsgi.url_scheme"],
            path=_text(environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")),
            query=environ.get("QUERY_STRING", ""),
            headers={name: environ[key] for name, key in _HEADERS.items() if key in environ},
        )

        def start_with_cookie(status: str, headers: list[tuple[str, str]], *failure: Any) -> Callable[[bytes], object]:
            if visit.set_cookie is not None:
                headers = [*headers, ("Set-Cookie", visit.set_cookie)]
            return start_response(status, headers, *failure)

        with attributed(visit.attribution):
            answer = self._app(environ, start_with_cookie)
        # What is whole already needs nothing, and a server may send a file of its own kind without reading it.
        file_wrapper = environ.get("wsgi.file_wrapper")
        if isinstance(answer, (list, tuple)) or (isinstance(file_wrapper, type) and isinstance(answer, file_wrapper)):
            return answer
        return Streamed(visit.attribution, answer)


def _text(wsgi_text: str) -> str:
    """Read a path: WSGI gives bytes as text of Latin-1 (PEP 3333)."""
    return wsgi_text.encode("latin-1", "replace").decode("utf-8", "replace")
