"""How everything that a request changes is written: in one transaction, with its entry in the record of changes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, TypeVar
from uuid import UUID

import msgspec
from litestar import Request

from analytics_core.audit import Actor, describe_changes
from analytics_core.db.audit import add_entry
from analytics_core.db.pool import Connection, Tenant
from analytics_core.roles import Role
from api.auth import caller_of
from api.callers import Caller
from api.requests import request_id_of
from api.resources import resources_of

__all__ = ("Work", "writing")

T = TypeVar("T")
Described = msgspec.Struct | Mapping[str, Any] | None


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

    @property
    def tenant(self) -> Tenant:
        """Whose rows are written."""
        return self.caller.tenant

    def done(
        self,
        answer: T,
        *,
        resource: UUID | str | None,
        before: Described = None,
        after: Described | msgspec.UnsetType = msgspec.UNSET,
    ) -> T:
        """Say what was done, which has to be said once for each work.

        Args:
            answer: To the request; it is returned as it is.
            resource: The id of what was changed; ``None`` where it has none.
            before: What it was; ``None`` for what was made.
            after: What it is; the answer when it is not given. Secrets in it are not put on record.
        """
        if self.entry is not None:
            raise AssertionError("a work is done once")
        if after is msgspec.UNSET:
            after = answer if isinstance(answer, msgspec.Struct) else None
        self.entry = (None if resource is None else str(resource), before, after)
        return answer


@contextlib.asynccontextmanager
async def writing(
    request: Request[Any, Any, Any], action: str, *, role: Role = Role.API, caller: Caller | None = None
) -> AsyncIterator[Work]:
    """Lend a transaction that writes for whoever asks: the only way in which a request changes anything of a tenant.

    What is changed and its entry in the record are committed together, or neither is.

    Args:
        request: Which asks.
        action: What is done, as ``resource.action`` in lower case, such as ``link.create``.
        role: As who: ``Role.API``, or ``Role.AUTH`` for what only the role that authenticates may do.
        caller: Who asks, where no guard could say it: who signs in.

    Raises:
        Unavailable: The database does not answer.
    """
    caller = caller or caller_of(request)
    async with resources_of(request).database.writing(caller.tenant, role=role) as conn:
        work = Work(conn, caller)
        yield work
        if work.entry is None:
            raise AssertionError(f"{action}: what was done has to be said")
        resource_id, was, became = work.entry
        before, after = describe_changes(was, became)
        await add_entry(
            conn,
            caller.tenant,
            actor=Actor.KEY if caller.user_id is None else Actor.USER,
            actor_id=caller.user_id or caller.key_id,
            action=action,
            resource_id=resource_id,
            request_id=request_id_of(request.scope),
            before=before,
            after=after,
        )
