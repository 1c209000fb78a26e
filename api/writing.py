"""How everything that a request changes is written: in one transaction, with its entry in the record of changes."""

from __future__ import annotations

import contextlib
import functools
import typing
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, TypeVar
from uuid import UUID

import asyncpg
import msgspec
from litestar import Request, Response

from analytics_core.audit import Actor, describe_changes
from analytics_core.db.audit import add_entry
from analytics_core.db.pool import Connection, Tenant
from analytics_core.errors import Unavailable
from analytics_core.roles import Role
from api.auth import caller_of
from api.callers import Caller, Person
from api.idempotency import KeyedRequest, OwnKeyedRequest
from api.requests import request_id_of
from api.resources import resources_of
from api.schemas.common import alternatives

__all__ = ("MAX_ATTEMPTS", "InTheWay", "OwnWork", "Work", "trying_again", "writing", "writing_own")

T = TypeVar("T")

_SEEN_ONCE: Final = ("api_key", "key", "password", "secret")
"""Fields of answers that hold a credential where they hold anything."""

_ACCESS: Final = ("key.", "tenant.")
"""Actions that change whom we know: the word of the database would come a moment after the answer."""

MAX_ATTEMPTS: Final = 4
"""How often a request is begun whose transaction another one is in the way of."""

Described = msgspec.Struct | Mapping[str, Any] | None


class InTheWay(Unavailable):
    """Another transaction was in the way, and nothing was written: the request can be begun once more; 503."""

    code = "in_the_way"


@contextlib.asynccontextmanager
async def _meeting_others() -> AsyncIterator[None]:
    """Say what it means that the database gave a transaction up for another one."""
    try:
        yield
    except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError) as error:
        raise InTheWay("somebody else is changing the same; try again", retry_after_s=1) from error


def trying_again(answer: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
    """Have a route begin once more what it could not write because of another transaction, a few times.

    Locks are taken in one order wherever there is one (:func:`analytics_core.db.sponsors.merge_sponsors`). Keys of the
    database take theirs in orders of their own.

    Args:
        answer: The route's function, which writes once, by :func:`writing` or :func:`writing_own`.
    """

    @functools.wraps(answer)
    async def again(*args: Any, **kwargs: Any) -> T:
        for _ in range(MAX_ATTEMPTS - 1):
            with contextlib.suppress(InTheWay):
                return await answer(*args, **kwargs)
        return await answer(*args, **kwargs)

    return again


class Work:
    """What is done in one transaction, and what is said of it.

    Attributes:
        conn: In the transaction.
        caller: Who does it.
    """

    def __init__(self, conn: Connection, caller: Caller) -> None:
        self.conn: Final = conn
        self.caller: Final = caller
        self.entry: tuple[str | None, Described, Described] | None = None
        self.answer: Any = None

    @property
    def tenant(self) -> Tenant:
        """Whose rows are written."""
        return self.caller.tenant

    def done(
        self,
        result: T,
        *,
        resource: UUID | str | None,
        before: Described = None,
        after: Described | msgspec.UnsetType = msgspec.UNSET,
        answer: Any = msgspec.UNSET,
        is_secret: bool = False,
    ) -> T:
        """Say what was done, which has to be said once for each work.

        Args:
            result: What is returned: the answer to the request, where no other is given.
            resource: The id of what was changed; ``None`` where it has none.
            before: What it was; ``None`` for what was made.
            after: What it is; the result when it is not given. Secrets in it are not put on record.
            answer: What the API's route answers, a struct or a ``Response`` of one, where that is not the result.
            is_secret: Whether the answer holds what is shown once: it is not kept for an ``Idempotency-Key``.
        """
        if self.entry is not None:
            raise AssertionError("a work is done once")
        if after is msgspec.UNSET:
            after = result if isinstance(result, msgspec.Struct) else None
        self.entry = (None if resource is None else str(resource), before, after)
        self.answer = msgspec.UNSET if is_secret else result if answer is msgspec.UNSET else answer
        return result


@functools.cache
def _answer_types(function: Callable[..., Any]) -> tuple[Any, ...]:
    annotation = typing.get_type_hints(function)["return"]
    if typing.get_origin(annotation) is Response:
        (annotation,) = typing.get_args(annotation)
    # One of several is what any of them is.
    return tuple(typing.get_origin(one) or one for one in alternatives(annotation))


def _check_answer(request: Request[Any, Any, Any], action: str, answer: Any) -> None:
    """See that what would be answered a second time is what a route of the API answers, and was not to be seen once."""
    if answer is msgspec.UNSET or not request.url.path.startswith("/api/"):
        return
    content = answer.content if isinstance(answer, Response) else answer
    if not isinstance(content, _answer_types(request.route_handler.fn)):
        raise AssertionError(f"{action}: {type(content).__name__} is not what the route answers")
    if any(getattr(content, name, None) is not None for name in _SEEN_ONCE):
        raise AssertionError(f"{action}: what is seen only once is not to be kept")


@contextlib.asynccontextmanager
async def writing(
    request: Request[Any, Any, Any],
    action: str,
    *,
    role: Role = Role.API,
    caller: Caller | None = None,
    is_answer: bool = True,
) -> AsyncIterator[Work]:
    """Lend a transaction that writes for whoever asks: the only way in which a request changes anything of a tenant.

    What is changed, its entry in the record and the answer to its ``Idempotency-Key`` are committed together, or none
    of them is. What was done before under the same key is not done again.

    Args:
        request: Which asks.
        action: What is done, as ``resource.action`` in lower case, such as ``link.create``.
        role: As who: ``Role.API``, or ``Role.AUTH`` for what only the role that authenticates may do.
        caller: Who asks, where no guard could say it: who signs in.
        is_answer: Whether the request succeeds by this; not where something is written though it is refused.

    Raises:
        Replayed: It was done before.
        Conflict: ``idempotency_key_reused``, or ``idempotency_answer_gone``.
        Unavailable: The database does not answer.
        InTheWay: Another transaction was in the way.
    """
    caller = caller or caller_of(request)
    keyed = await KeyedRequest.of(request, caller) if is_answer else None
    async with _meeting_others(), resources_of(request).database.writing(caller.tenant, role=role) as conn:
        if keyed is not None:
            await keyed.take(conn, request, caller)
        work = Work(conn, caller)
        yield work
        if work.entry is None:
            raise AssertionError(f"{action}: what was done has to be said")
        if is_answer:
            _check_answer(request, action, work.answer)
        resource_id, was, became = work.entry
        before, after = describe_changes(was, became)
        await add_entry(
            conn,
            caller.tenant,
            actor=Actor.KEY if caller.user_id is None else Actor.USER,
            actor_id=caller.caller_id,
            action=action,
            resource_id=resource_id,
            request_id=request_id_of(request.scope),
            before=before,
            after=after,
        )
        if keyed is not None:
            await keyed.keep(conn, request, caller, resource_id, work.answer)
    if action.startswith(_ACCESS):
        resources_of(request).known_keys.forget()


class OwnWork:
    """What somebody changes about themselves in one transaction, and which tenants' records say so.

    Attributes:
        conn: As the role that authenticates, in the transaction.
    """

    def __init__(self, conn: Connection) -> None:
        self.conn: Final = conn
        self.answer: Any = None
        self.entries: list[tuple[Tenant, UUID, str, Described, Described]] = []

    def done(
        self,
        user_id: UUID,
        *,
        tenants: Iterable[Tenant],
        resource: UUID | None = None,
        before: Described = None,
        after: Described = None,
        answer: msgspec.Struct | None = None,
    ) -> None:
        """Say what was done.

        Args:
            user_id: Who did it.
            tenants: In whose records it stands: of somebody who belongs to none, in nobody's.
            resource: The id of what was changed; the person's own where it is not given.
            before: What it was; nothing that tells who somebody is, as an entry outlives them.
            after: What it is, likewise.
            answer: What the API's route answers, if anything.
        """
        self.answer = answer
        self.entries += [(tenant, user_id, str(resource or user_id), before, after) for tenant in tenants]


@contextlib.asynccontextmanager
async def writing_own(
    request: Request[Any, Any, Any], action: str, *, person: Person | None = None
) -> AsyncIterator[OwnWork]:
    """Lend a transaction in which somebody changes what is theirs alone: the only way in which a request does.

    Args:
        request: Which asks.
        action: What is done, as for :func:`writing`.
        person: Who asks, where that is known: what they did before under the same ``Idempotency-Key`` is not done
            again.

    Raises:
        Replayed: It was done before.
        Conflict: ``idempotency_key_reused``, or ``idempotency_answer_gone``.
        Unavailable: The database does not answer.
        InTheWay: Another transaction was in the way.
    """
    keyed = None if person is None else await OwnKeyedRequest.of(request, person)
    async with _meeting_others(), resources_of(request).database.auth() as conn, conn.transaction():
        if keyed is not None:
            await keyed.take(conn, request)
        work = OwnWork(conn)
        yield work
        if keyed is not None:
            _check_answer(request, action, work.answer)
            await keyed.keep(conn, request, work.answer)
        for tenant, user_id, resource_id, was, became in work.entries:
            before, after = describe_changes(was, became)
            await resources_of(request).database.turn_to(conn, tenant)
            await add_entry(
                conn,
                tenant,
                actor=Actor.USER,
                actor_id=user_id,
                action=action,
                resource_id=resource_id,
                request_id=request_id_of(request.scope),
                before=before,
                after=after,
            )
