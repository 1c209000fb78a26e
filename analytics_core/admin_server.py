"""Health and metrics of a service, on a port of its own: a small server in a thread, so that a busy loop still answers.

``/health/live`` says that the process runs, ``/health/ready`` that it can do its work, ``/metrics`` is Prometheus'.
"""

from __future__ import annotations

import ipaddress
import json
import socket
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import Final, NamedTuple
from urllib.parse import parse_qsl
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app

__all__ = ("AdminAnswer", "AdminRoute", "AdminServer")

_REQUEST_S: Final = 10.0


class AdminAnswer(NamedTuple):
    """What a route answers: a status, and a value that is sent as JSON."""

    status: int
    value: object


AdminRoute = Callable[[Mapping[str, str]], AdminAnswer]
"""A route gets the query's parameters; of one that is repeated, the last."""


class _Handler(WSGIRequestHandler):
    timeout = _REQUEST_S

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Say nothing: a probe every second is no news."""

    def address_string(self) -> str:
        """Return the address as it is: a name look-up could hang."""
        return str(self.client_address[0])


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def server_bind(self) -> None:
        """Bind without the base class's look-up of our own name."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that go away."""


class _SixServer(_Server):
    address_family = socket.AF_INET6


class AdminServer:
    """Serves health, metrics and a few routes of a service until closed.

    Args:
        host: Address to listen on; loopback unless the operator says otherwise.
        port: Port; 0 takes a free one.
        not_ready: Lists what keeps the service from its work; empty when it is ready. Called in a server thread.
        metrics: What ``/metrics`` shows.
        warnings: Lists what somebody has to see to while the service is ready all the same. Called as the other is.
        routes: Further paths, such as ``/internal/tls-ask``. Called in a server thread.

    Raises:
        OSError: The port is taken or the address is not ours; the message names both.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        not_ready: Callable[[], Sequence[str]],
        metrics: CollectorRegistry,
        warnings: Callable[[], Sequence[str]] = tuple,
        routes: Mapping[str, AdminRoute] | None = None,
    ) -> None:
        self._not_ready = not_ready
        self._warnings = warnings
        self._metrics = make_wsgi_app(metrics)
        self._routes = dict(routes or {})
        kind = _SixServer if ":" in host else _Server
        try:
            self._server = kind((host, port), _Handler)
        except OSError as error:
            raise OSError(error.errno, f"the admin port {port} on {host} cannot be used: {error.strerror}") from error
        self._server.set_app(self._serve)
        self._thread = threading.Thread(target=self._server.serve_forever, name="admin-server", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port in use."""
        return self._server.server_port

    @property
    def url(self) -> str:
        """The server's address, without a trailing slash."""
        host = self._server.server_name
        is_six = ":" in host and isinstance(ipaddress.ip_address(host.partition("%")[0]), ipaddress.IPv6Address)
        return f"http://{f'[{host}]' if is_six else host}:{self.port}"

    def close(self) -> None:
        """Stop answering and give the port back."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _serve(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _send(environ, start_response, AdminAnswer(405, {"detail": "only GET and HEAD"}))
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            metrics: WSGIApplication = self._metrics
            return metrics(environ, start_response)
        return _send(environ, start_response, self._answer(path, environ.get("QUERY_STRING", "")))

    def _answer(self, path: str, query: str) -> AdminAnswer:
        if path == "/health/live":
            return AdminAnswer(200, {"live": True})
        if path == "/health/ready":
            faults = list(self._not_ready())
            answer: dict[str, object] = {"ready": not faults, "not_ready": faults}
            warnings = list(self._warnings())
            if warnings:
                answer["warnings"] = warnings
            return AdminAnswer(503 if faults else 200, answer)
        route = self._routes.get(path)
        if route is None:
            return AdminAnswer(404, {"detail": "no such path"})
        return route(dict(parse_qsl(query)))


def _send(environ: WSGIEnvironment, start_response: StartResponse, answer: AdminAnswer) -> Iterable[bytes]:
    body = json.dumps(answer.value).encode() + b"\n"
    headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
    ]
    start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]
