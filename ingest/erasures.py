"""The job that does the erasures that were asked for."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from analytics_core.db.customer_erasure import erase_customer
from analytics_core.db.erasure_requests import ErasureRequest, erasing, list_requests
from analytics_core.db.listener_erasure import erase_listener
from analytics_core.db.podcast_erasure import erase_podcast
from analytics_core.db.pool import Connection, Pool
from analytics_core.erasures import ErasureRecord
from analytics_core.errors import Conflict, Unavailable

__all__ = ("perform", "work_off")


async def perform(pool: Pool, request: ErasureRequest, *, now: dt.datetime) -> ErasureRecord:
    """Do an erasure, or what is left of it.

    Args:
        pool: As ingest.
        request: Which; whoever calls holds :func:`analytics_core.db.erasure_requests.erasing`.
        now: Aware instant.

    Returns:
        The record; not finished when something was left.

    Raises:
        Unavailable: The database does not answer, or rows were in use for too long; calling it again goes on.
    """
    if request.customer_key is not None:
        return await erase_customer(pool, request, now=now)
    erase = erase_listener if request.podcast_no is None else erase_podcast
    return await erase(pool, request, now=now)


async def work_off(conn: Connection, pool: Pool, *, now: dt.datetime) -> Mapping[str, int]:
    """Do all erasures that were asked for, oldest first; those of a tenant for whom somebody is at it are left to them.

    Args:
        conn: As ingest, outside a transaction.
        pool: As ingest; one connection is taken.
        now: Aware instant.

    Returns:
        How many were done, and how many are left to others.

    Raises:
        Unavailable: As by :func:`perform`, or something was left of one; once the others were tried.
    """
    done = left = 0
    fault: Unavailable | None = None
    for asked in await list_requests(conn):
        try:
            async with erasing(conn, asked.tenant):
                # Somebody may have done it since.
                for request in await list_requests(conn, erasure_id=asked.erasure_id):
                    if (await perform(pool, request, now=now)).finished_at is None:
                        raise Unavailable(f"erasure {request.erasure_id}: each time something was left")
                    done += 1
        except Conflict:
            left += 1
        except Unavailable as error:
            fault = error
    if fault is not None:
        raise fault
    return {"done": done, "left": left}
