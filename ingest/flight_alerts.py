"""Tells who sells of flights that have fallen behind, or ended short: a tenant a transaction, which queues the mail."""

from __future__ import annotations

import datetime as dt
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Final

from analytics_core.db.deliveries import read_flight_delivery
from analytics_core.db.flight_alerts import (
    WatchedTenant,
    list_alert_recipients,
    list_watched_flights,
    list_watched_tenants,
    lock_alerts,
    read_alerts,
    read_last_told,
    save_alert,
)
from analytics_core.db.outbox import queue_mail
from analytics_core.db.pool import Connection, Pool, tenant_transaction
from analytics_core.db.segments import read_cutoff
from analytics_core.db.sponsors import list_sponsor_names
from analytics_core.delivery_mail import delivery_mail
from analytics_core.errors import InvalidInput
from analytics_core.flight_alerts import FlightAlert, News, choose_news, find_news, follow, note_told
from analytics_core.mail import check_address

__all__ = ("tell_of_flights",)

_log: Final = logging.getLogger("castledger.ingest")


async def tell_of_flights(conn: Connection, pool: Pool, *, now: dt.datetime, public_url: str) -> dict[str, int]:
    """Look at the flights of all tenants, and queue a mail for those to whom there is something to tell.

    Args:
        conn: As ingest, outside a transaction.
        pool: As ingest; each tenant has a transaction of its own.
        now: Aware instant.
        public_url: Where the page is; empty where nobody knows.

    Returns:
        How many flights were looked at, how many of them are behind, how many were told of, in how many mails.
    """
    cutoff = await read_cutoff(conn)
    # What waits to be landed is not missing: flights are held to what was due when all of it had landed.
    as_of = now if cutoff is None else min(now, cutoff)
    done: Counter[str] = Counter(flights=0, behind=0, told=0, mails=0)
    for watched in await list_watched_tenants(conn, at=as_of):
        try:
            done.update(await _tell(pool, watched, as_of=as_of, now=now, public_url=public_url))
        except InvalidInput as error:
            # What is too much of one tenant's is kept from nobody else.
            _log.warning("flights of tenant %d are not told of: %s", watched.tenant.tenant_no, error)
    return dict(done)


async def _tell(
    pool: Pool, watched: WatchedTenant, *, as_of: dt.datetime, now: dt.datetime, public_url: str
) -> dict[str, int]:
    tenant_id = watched.tenant_id
    async with tenant_transaction(pool, watched.tenant) as conn:
        await lock_alerts(conn, watched.tenant)
        flight_ids = await list_watched_flights(conn, tenant_id, at=as_of)
        before = await read_alerts(conn, tenant_id, flight_ids)
        alerts, news = dict(before), list[News]()
        for flight_id in flight_ids:
            try:
                delivery = (await read_flight_delivery(conn, tenant_id, flight_id, now=as_of)).delivery
            except InvalidInput:
                # Of more placements than are told of at once; its page says so.
                continue
            alerts[flight_id] = follow(before.get(flight_id, FlightAlert()), delivery, now=now)
            if (found := find_news(alerts[flight_id], delivery)) is not None:
                news.append(found)
        chosen = choose_news(news, told_at=await read_last_told(conn, tenant_id), now=now)
        mails = await _queue(conn, watched, chosen, len(news), as_of=as_of, now=now, public_url=public_url)
        if mails:
            for one in chosen:
                flight_id = one.delivery.terms.flight_id
                alerts[flight_id] = note_told(alerts[flight_id], one.kind, now=now)
        for flight_id, alert in alerts.items():
            if alert != before.get(flight_id, FlightAlert()):
                await save_alert(conn, tenant_id, flight_id, alert)
    return {
        "flights": len(flight_ids),
        "behind": sum(alert.behind_since is not None for alert in alerts.values()),
        "told": len(chosen) if mails else 0,
        "mails": mails,
    }


async def _queue(
    conn: Connection,
    watched: WatchedTenant,
    chosen: Sequence[News],
    count: int,
    *,
    as_of: dt.datetime,
    now: dt.datetime,
    public_url: str,
) -> int:
    """Queue a mail to each who is to hear of it; return to how many."""
    if not chosen:
        return 0
    sponsors = await list_sponsor_names(conn, {one.delivery.terms.sponsor_id for one in chosen})
    addresses = [one for one in await list_alert_recipients(conn) if _can_be_written_to(one)]
    for address in addresses:
        mail = delivery_mail(
            address,
            chosen,
            waiting=count - len(chosen),
            tenant_id=watched.tenant_id,
            tenant=watched.name,
            sponsors=sponsors,
            as_of=as_of,
            public_url=public_url,
        )
        await queue_mail(conn, mail, now=now, tenant=watched.tenant)
    return len(addresses)


def _can_be_written_to(address: str) -> bool:
    """Tell whether mail can go there: one that was stored by other rules keeps it from nobody else."""
    try:
        check_address(address)
    except InvalidInput:
        return False
    return True
