"""The pure decision: a request's method and target in, status and answer out.

Every answer but a redirect's is built once, at import. Nothing of a request reaches an answer other than the
``Location``, whose grammar :mod:`prefix_redirect.targets` has checked byte by byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final, TypeAlias
from uuid import UUID, uuid4

import msgspec

from analytics_core.hits import MAX_TEXT_BYTES, HitKind
from analytics_core.links import CLICK_PARAMETER, format_click_id, requested_utm, set_parameters
from prefix_redirect.host_policy import HostPolicy, Ruling
from prefix_redirect.targets import TargetFault, parse_target, split_prefix

__all__ = ("Decider", "Decision", "NewClick", "decide", "refuse", "status_line")


NewClick: TypeAlias = Callable[[], UUID]
"""Makes ids of clicks that nobody can guess: all random, since one that tells the time leaves little to guess."""


class Decision(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a request is answered with, and whether it is recorded.

    Attributes:
        status: 200, 204, 302, 400, 404, 405, or what :func:`refuse` was asked for.
        headers: Header lines, each with its line end; status line, ``Date`` and ``Connection`` are the protocol's.
        body: What follows them, but for HEAD.
        record: Whether the hit goes to the spool.
        kind: A ``HitKind``, as a plain integer.
        target: What the spool keeps of the target.
        arguments: What stood between ``/e,`` and the next slash; for a link ``go=<slug>``, and ``click=<id>`` where its
            target is told one.
    """

    status: int
    headers: bytes
    body: bytes = b""
    record: bool = False
    kind: int = int(HitKind.REQUEST)
    target: bytes = b""
    arguments: bytes = b""


def _plain(status: int, text: str, *extra: bytes) -> Decision:
    body = f"{text}\n".encode()
    lines = (
        *extra,
        b"Content-Type: text/plain; charset=utf-8",
        b"X-Content-Type-Options: nosniff",
        b"Content-Length: %d" % len(body),
    )
    return Decision(status=status, headers=b"".join(line + b"\r\n" for line in lines), body=body)


_OPTIONS: Final = Decision(
    status=204,
    headers=(
        b"Access-Control-Allow-Origin: *\r\n"
        b"Access-Control-Allow-Methods: GET, HEAD\r\n"
        b"Access-Control-Allow-Headers: *\r\n"
        b"Access-Control-Max-Age: 86400\r\n"
    ),
)
_ROBOTS: Final = _plain(200, "User-agent: *\nDisallow: /")
_NOT_FOUND: Final = _plain(404, "There is nothing here. This address only redirects podcast players to their episodes.")
_NO_LINK: Final = _plain(404, "There is no such link. Please check the spelling of the address.")
_BAD_METHOD: Final = _plain(405, "Only GET and HEAD are answered here.", b"Allow: GET, HEAD, OPTIONS")
_RULINGS: Final = {
    Ruling.NOT_REGISTERED: _plain(400, "The target's host is not a public name or address."),
    Ruling.DENIED: _plain(404, "This tracker does not redirect to that host."),
    Ruling.UNKNOWN_CLICK: _plain(
        404,
        "This address is for podcast players. Nobody has registered it here as an episode, "
        "so a browser is not sent on, to keep you safe from links that only look trustworthy.",
    ),
    Ruling.UNKNOWN_HOST: _plain(
        404,
        "This tracker does not know that host. If it is your podcast's, add the podcast to the tracker's ledger.",
    ),
}
_FAULTS: Final = {fault: _plain(400, fault.value) for fault in TargetFault}
_REFUSALS: Final = {
    400: _plain(400, "This is not HTTP as we read it."),
    408: _plain(408, "The request did not arrive in time."),
    413: _plain(413, "The request's body is too large."),
    414: _plain(414, "The request line is longer than 8 KiB."),
    431: _plain(431, "The headers are larger than 16 KiB or more than 100."),
}

_REDIRECT_HEADERS: Final = (
    b"Location: %s\r\nCache-Control: private, no-cache\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 0\r\n"
)
_CLICK: Final = int(HitKind.CLICK)
_ABSOLUTE: Final = re.compile(rb"https?://([^/?#]*)", re.IGNORECASE)
_UNSAFE: Final = re.compile(rb"[^\x21-\x7e]")


def refuse(status: int) -> Decision:
    """Return the answer to a request that could not be read.

    Args:
        status: 400, 408, 413, 414 or 431.
    """
    return _REFUSALS[status]


def decide(
    method: bytes, raw: bytes, *, navigation: bool, policy: HostPolicy, host: bytes = b"", new_click: NewClick = uuid4
) -> Decision:
    """Decide on one request.

    Args:
        method: As written, such as ``b"GET"``.
        raw: The request target, byte for byte, in origin or absolute form.
        navigation: Whether a browser asks for a page (:func:`prefix_redirect.host_policy.is_navigation`).
        policy: The host policy in force.
        host: The ``Host`` header; empty when there was none.
        new_click: Makes the id of a click, where a link's target is told one.

    Returns:
        The decision; there is one for every input.
    """
    if method not in (b"GET", b"HEAD"):
        return _OPTIONS if method == b"OPTIONS" else _BAD_METHOD
    if not raw.startswith(b"/"):
        # A client that takes us for its proxy sends the whole URL.
        absolute = _ABSOLUTE.match(raw)
        if absolute is not None:
            host, raw = absolute[1], raw[absolute.end() :]
    parts = split_prefix(raw)
    if parts is not None:
        return _decide_prefix(*parts, navigation=navigation, policy=policy)
    path, _, query = raw.partition(b"?")
    if path == b"/robots.txt":
        return _ROBOTS
    if path.startswith(b"/go/"):
        slug = path[4:].removesuffix(b"/").decode("ascii", "replace").lower()
        return _decide_link(slug, query, policy, new_click)
    if path.startswith(b"/e,"):
        return _NOT_FOUND
    vanity = policy.registry.vanity_hosts.get(_host_name(host))
    return _NOT_FOUND if vanity is None else _decide_link(vanity, query, policy, new_click)


def _host_name(host: bytes) -> str:
    """Write the host that a request names as the registry does: in lower case, without port and trailing dot."""
    return host.partition(b":")[0].decode("ascii", "replace").lower().removesuffix(".")


def _decide_prefix(arguments: bytes, behind: bytes, *, navigation: bool, policy: HostPolicy) -> Decision:
    target = parse_target(behind)
    if isinstance(target, TargetFault):
        return _FAULTS[target]
    ruling = policy.rule(target, navigation=navigation)
    if ruling is not Ruling.REDIRECT:
        return _RULINGS[ruling]
    return Decision(
        status=302,
        headers=_REDIRECT_HEADERS % target.location,
        record=True,
        target=target.stored,
        arguments=b",".join(filter(None, (arguments, target.arguments))),
    )


def _decide_link(slug: str, query: bytes, policy: HostPolicy, new_click: NewClick) -> Decision:
    link = policy.registry.links.get(slug)
    if link is None or not link.target.lower().startswith(("http://", "https://")):
        return _NO_LINK
    if policy.denies(link.target):
        return _RULINGS[Ruling.DENIED]
    arguments = b"go=" + slug.encode()
    told = {}
    if link.wants_click_id:
        click = format_click_id(new_click())
        told[CLICK_PARAMETER] = click
        arguments += b",click=" + click.encode()
    location = _locate(link.target, {**requested_utm(query.decode("latin-1")), **told})
    if len(location) > MAX_TEXT_BYTES:
        # What a request asks for may be too much; the link leads on all the same.
        location = _locate(link.target, told)
    if len(location) > MAX_TEXT_BYTES:
        return _NO_LINK
    return Decision(
        status=302,
        headers=_REDIRECT_HEADERS % location,
        record=True,
        kind=_CLICK,
        target=location,
        arguments=arguments,
    )


def _locate(target: str, parameters: Mapping[str, str]) -> bytes:
    return _UNSAFE.sub(lambda byte: b"%%%02X" % byte[0][0], set_parameters(target, parameters).encode())


class Decider:
    """Decisions under one policy, remembered: most requests of an hour are for a few hundred episodes.

    A new registry means a new decider, so nothing remembered outlives what it was judged by.

    Args:
        policy: The policy in force.
        remembered: Most decisions kept of each kind; long targets, clicks, and what may be one under another host are
            never kept.
        new_click: Makes ids of clicks.
    """

    def __init__(self, policy: HostPolicy, *, remembered: int = 4096, new_click: NewClick = uuid4) -> None:
        self.policy = policy
        self._new_click = new_click
        self._remembered = remembered
        self._of_players: dict[bytes, Decision] = {}
        self._of_browsers: dict[bytes, Decision] = {}

    def __len__(self) -> int:
        return len(self._of_players) + len(self._of_browsers)

    def decide(self, method: bytes, raw: bytes, *, navigation: bool, host: bytes = b"") -> Decision:
        """Decide as :func:`decide` does."""
        if method not in (b"GET", b"HEAD"):
            return decide(method, raw, navigation=navigation, policy=self.policy, new_click=self._new_click)
        known = self._of_browsers if navigation else self._of_players
        decision = known.get(raw)
        if decision is None:
            decision = decide(
                method, raw, navigation=navigation, policy=self.policy, host=host, new_click=self._new_click
            )
            if len(raw) <= _LONGEST_REMEMBERED and decision.kind != _CLICK and decision is not _NOT_FOUND:
                if len(known) >= self._remembered:
                    known.clear()
                known[raw] = decision
        return decision


_LONGEST_REMEMBERED: Final = 512


def status_line(status: int) -> bytes:
    """Write the first line of an answer.

    >>> status_line(302)
    b'HTTP/1.1 302 Found\\r\\n'
    """
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()
