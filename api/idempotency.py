"""What is sent twice under one ``Idempotency-Key`` is done once, and answered the same.

Source:
    draft-ietf-httpapi-idempotency-key-header-07.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Mapping
from typing import Any, Final, Protocol
from uuid import UUID

import msgspec
from litestar import Request, Response

from analytics_core.db.idempotency import (
    StoredAnswer,
    find_answer,
    find_own_answer,
    keep_answer,
    keep_own_answer,
    take_key,
    take_own_key,
)
from analytics_core.db.pool import Connection
from analytics_core.errors import CastledgerError, Conflict, Unavailable
from api.auth import caller_of
from api.callers import Caller, Person
from api.errors import Fault, InvalidRequest
from api.resources import resources_of

__all__ = (
    "HEADER",
    "KeyedRequest",
    "OwnKeyedRequest",
    "Replayed",
    "answer_replayed",
    "do_once",
    "replay_answer",
    "replay_own_answer",
)

HEADER: Final = "Idempotency-Key"
_FORM_HASH: Final = "form_hash"
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")


class Digest(Protocol):
    """A hash that is being made: of :mod:`hashlib` or :mod:`hmac`."""

    def update(self, data: bytes, /) -> None:
        """Take in more."""
        ...

    def digest(self) -> bytes:
        """Return the hash."""
        ...


class Replayed(CastledgerError):
    """The request was done before; it is answered as it was then."""

    code = "replayed"

    def __init__(self, stored: StoredAnswer) -> None:
        self.stored = stored
        super().__init__("this request was done before")


def do_once(request: Request[Any, Any, Any], fields: Mapping[str, str]) -> None:
    """Have what a form of the page asks for done once, however often it is sent as it is: a button pressed twice.

    Args:
        request: Which brings it.
        fields: Of it, the token among them: another one is in the form each time that a page is shown.
    """
    digest = hashlib.sha256()
    for part in (request.url.path, *itertools.chain.from_iterable(sorted(fields.items()))):
        data = part.encode(errors="surrogatepass")
        digest.update(b"%d:" % len(data))
        digest.update(data)
    request.state[_FORM_HASH] = digest.digest()


def _key_of(request: Request[Any, Any, Any]) -> str | None:
    """Read the key of a request to the API; ``None`` when it has none. Forms of the page send none.

    Neither has what anybody may ask, whoever sends one: who it is from is not known yet, and what signs people in
    hands out what must not be kept.

    Raises:
        InvalidRequest: It is no key, or there are several.
    """
    given = request.headers.getall(HEADER, [])
    if not given or not request.url.path.startswith("/api/") or request.route_handler.opt.get("is_open"):
        return None
    if len(given) > 1 or not _KEY.fullmatch(given[0]):
        raise InvalidRequest([Fault(HEADER, "invalid", "is one header of 1 to 255 visible ASCII characters")])
    return given[0]


async def _digest(request: Request[Any, Any, Any], digest: Digest) -> bytes:
    """Hash a request: its method, path, query and body."""
    scope = request.scope
    for part in (str(scope["method"]).encode(), scope["raw_path"], scope["query_string"], await request.body()):
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.digest()


def _check_replay(stored: StoredAnswer | None, request_hash: bytes) -> None:
    """Answer as before when a request was done; return when it was not.

    Raises:
        Replayed: It was done before.
        Conflict: ``idempotency_key_reused``, or ``idempotency_answer_gone``.
    """
    if stored is None:
        return
    if stored.request_hash != request_hash:
        raise Conflict("idempotency_key_reused", f"this {HEADER} was sent with another request; choose a new one")
    if stored.answer is None:
        made = f": see {stored.resource_id}" if stored.resource_id else ""
        raise Conflict("idempotency_answer_gone", f"this was done before, and its answer is not kept{made}")
    raise Replayed(stored)


def _gone_meanwhile() -> Unavailable:
    return Unavailable("the key's time was over in this very moment; try again")


def _body(answer: Any) -> bytes | None:
    return b"" if answer is None else None if answer is msgspec.UNSET else msgspec.json.encode(answer)


class KeyedRequest(msgspec.Struct, frozen=True):
    """A request that is to be done once for a tenant.

    Attributes:
        caller_id: Whose key it is.
        request_hash: Of method, path, query and body.
        is_form: Whether a form of the page brings it.
    """

    caller_id: UUID
    key: str
    request_hash: bytes
    is_form: bool = False

    @classmethod
    async def of(cls, request: Request[Any, Any, Any], caller: Caller) -> KeyedRequest | None:
        """Read the key of a request; ``None`` when it has none. A form that :func:`do_once` marked has its hash.

        Raises:
            InvalidRequest: It is no key, or there are several.
        """
        form_hash = request.state.get(_FORM_HASH)
        if form_hash is not None:
            return cls(caller.caller_id, f"form-{form_hash.hex()}", form_hash, is_form=True)
        key = _key_of(request)
        return None if key is None else cls(caller.caller_id, key, await _digest(request, hashlib.sha256()))

    async def take(self, conn: Connection, request: Request[Any, Any, Any], caller: Caller) -> None:
        """Take the key, in the transaction of what is to be done; whoever comes with the same waits for its end.

        Raises:
            Replayed: It was done before.
            Conflict: ``idempotency_key_reused``, or ``idempotency_answer_gone``.
        """
        now = resources_of(request).clock.now()
        if await take_key(conn, caller.tenant, self.caller_id, self.key, request_hash=self.request_hash, now=now):
            return
        await self.replay(conn, request, caller)
        raise _gone_meanwhile()

    async def replay(self, conn: Connection, request: Request[Any, Any, Any], caller: Caller) -> None:
        """Answer as before when the request was done; return when it was not.

        Raises:
            Replayed: It was done before.
            Conflict: ``idempotency_key_reused``, or ``idempotency_answer_gone``.
        """
        now = resources_of(request).clock.now()
        _check_replay(await find_answer(conn, caller.tenant, self.caller_id, self.key, now=now), self.request_hash)

    async def keep(
        self, conn: Connection, request: Request[Any, Any, Any], caller: Caller, resource_id: str | None, answer: Any
    ) -> None:
        """Keep the answer, in the same transaction; ``msgspec.UNSET`` for one that is seen only once."""
        etag, status_code = None, request.route_handler.status_code
        if isinstance(answer, Response):
            answer, etag, status_code = answer.content, answer.headers.get("ETag"), answer.status_code or status_code
        body = _body(answer)
        if body and self.is_form:
            # The page shows what there is by then: a thousand codes, which are too much to keep, are done once as well.
            body = b""
        await keep_answer(
            conn,
            caller.tenant,
            self.caller_id,
            self.key,
            status_code=status_code,
            resource_id=resource_id,
            answer=body,
            etag=etag,
        )


class OwnKeyedRequest(msgspec.Struct, frozen=True):
    """A request that is to be done once about the person who sends it.

    Attributes:
        user_id: Whose key it is.
        request_hash: Of method, path, query and body, with a key that the database has not: of a password in the body,
            it tells nobody whether a guess is right.
    """

    user_id: UUID
    key: str
    request_hash: bytes

    @classmethod
    async def of(cls, request: Request[Any, Any, Any], person: Person) -> OwnKeyedRequest | None:
        """Read the key of a request; ``None`` when it has none.

        Raises:
            InvalidRequest: It is no key, or there are several.
        """
        key = _key_of(request)
        if key is None:
            return None
        return cls(person.user_id, key, await _digest(request, resources_of(request).tokens.request_digest()))

    async def take(self, conn: Connection, request: Request[Any, Any, Any]) -> None:
        """Take the key, as :meth:`KeyedRequest.take` does.

        Raises:
            Replayed: It was done before.
            Conflict: ``idempotency_key_reused``, or ``idempotency_answer_gone``.
        """
        now = resources_of(request).clock.now()
        if await take_own_key(conn, self.user_id, self.key, request_hash=self.request_hash, now=now):
            return
        await self.replay(conn, request)
        raise _gone_meanwhile()

    async def replay(self, conn: Connection, request: Request[Any, Any, Any]) -> None:
        """Answer as before when the request was done; return when it was not.

        Raises:
            Replayed: It was done before.
            Conflict: ``idempotency_key_reused``, or ``idempotency_answer_gone``.
        """
        now = resources_of(request).clock.now()
        _check_replay(await find_own_answer(conn, self.user_id, self.key, now=now), self.request_hash)

    async def keep(self, conn: Connection, request: Request[Any, Any, Any], answer: Any) -> None:
        """Keep the answer, in the same transaction."""
        status_code = request.route_handler.status_code
        await keep_own_answer(conn, self.user_id, self.key, status_code=status_code, answer=_body(answer))


async def replay_answer(request: Request[Any, Any, Any]) -> None:
    """Answer as before what was done before; for routes that have work to do before they write.

    Raises:
        Replayed: It was done before.
        Conflict: ``idempotency_key_reused``, or ``idempotency_answer_gone``.
    """
    caller = caller_of(request)
    keyed = await KeyedRequest.of(request, caller)
    if keyed is not None:
        async with resources_of(request).database.tenant(caller.tenant) as conn:
            await keyed.replay(conn, request, caller)


async def replay_own_answer(request: Request[Any, Any, Any], person: Person) -> None:
    """Do the same for routes about the person who asks.

    Raises:
        Replayed: It was done before.
        Conflict: ``idempotency_key_reused``, or ``idempotency_answer_gone``.
    """
    keyed = await OwnKeyedRequest.of(request, person)
    if keyed is not None:
        async with resources_of(request).database.auth() as conn:
            await keyed.replay(conn, request)


def answer_replayed(_: Request[Any, Any, Any], error: Replayed) -> Response[bytes]:
    """Answer as it was answered then, and say so."""
    stored = error.stored
    return Response(
        stored.answer or b"",
        status_code=stored.status_code,
        media_type="application/json",
        headers={"Idempotent-Replayed": "true", **({"ETag": stored.etag} if stored.etag else {})},
    )
