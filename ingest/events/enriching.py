"""Enriches events: what is kept of pages, customers by key, and of browsers where and by what they came."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from analytics_core.db.events import StoredEvent, ensure_event_secrets
from analytics_core.db.pool import Connection
from analytics_core.event_pages import Page, customer_key, describe_page
from analytics_core.events import EventSource
from analytics_core.listeners import new_secret
from analytics_core.networks import NetworkClass
from analytics_core.referrers import referrer_host
from analytics_core.user_agents import AgentKind
from analytics_core.windows import DAY_US
from ingest.dictionaries import Agent, AgentNumbers
from ingest.events.reading import SpooledEvent
from ingest.place_sources import PlaceSources
from ingest.walks import micros

__all__ = ("Enricher",)

_NOBODY: Final = bytes(16)
_NO_PAGE: Final = Page("", "", {})


class Enricher:
    """Makes rows of events, and remembers tenants' secrets.

    Args:
        agents: Numbers browsers.
    """

    def __init__(self, agents: AgentNumbers) -> None:
        self._agents = agents
        self._secrets: dict[int, bytes] = {}

    def forget(self) -> None:
        """Drop what is remembered of the database."""
        self._secrets.clear()

    async def enrich(self, conn: Connection, events: Sequence[SpooledEvent], places: PlaceSources) -> list[StoredEvent]:
        """Make a row of each event.

        Args:
            conn: As ingest, outside a transaction.
            events: Any.
            places: What addresses are looked up in.

        Returns:
            A row for each, in their order. A customer of a tenant that is gone has no key; nor does the event land.
        """
        await self._learn_secrets(conn, {event.record.tenant_no for event in events if event.record.customer_id})
        agents = await self._number_agents(conn, events)
        # Off the loop: addresses, pages and keys of thousands of events take a while.
        return await asyncio.to_thread(self._make_rows, events, agents, places)

    def _make_rows(
        self, events: Sequence[SpooledEvent], agents: Mapping[str, Agent], places: PlaceSources
    ) -> list[StoredEvent]:
        located = _locate(events, places)
        # Each page once: shops have few from which they send events.
        pages = {url: describe_page(url) for url in {event.record.url for event in events} if url}
        return [
            self._row(
                event, pages.get(event.record.url or "", _NO_PAGE), agents.get(event.record.agent), located[place]
            )
            for place, event in enumerate(events)
        ]

    async def _learn_secrets(self, conn: Connection, tenants: set[int]) -> None:
        missing = {tenant_no: new_secret() for tenant_no in tenants - self._secrets.keys()}
        if missing:
            self._secrets |= await ensure_event_secrets(conn, missing)

    async def _number_agents(self, conn: Connection, events: Sequence[SpooledEvent]) -> dict[str, Agent]:
        texts = sorted({event.record.agent for event in events if event.record.agent})
        if not texts:
            return {}
        found = await self._agents.number(conn, [text.encode("utf-8", "surrogatepass") for text in texts])
        return dict(zip(texts, found, strict=True))

    def _row(self, event: SpooledEvent, page: Page, agent: Agent | None, located: tuple[int, int, int]) -> StoredEvent:
        record = event.record
        secret = self._secrets.get(record.tenant_no)
        country, asn, networks = located
        return StoredEvent(
            received_at=event.received_at,
            occurred_at=event.occurred_at,
            event_id=record.event_id,
            tenant_no=record.tenant_no,
            source=int(record.source),
            type=record.type,
            click_id=record.click_id,
            promo_code=record.promo_code,
            link=record.link,
            customer_key=customer_key(record.customer_id, secret) if record.customer_id and secret else None,
            external_id=record.external_id,
            value_amount=record.value_amount,
            currency=record.currency,
            new_customer=record.new_customer,
            page_host=page.host or None,
            page_path=page.path or None,
            referrer_host=(referrer_host(record.referrer) or None) if record.referrer else None,
            utm=page.utm or None,
            properties=record.properties or None,
            agent_no=agent.agent_no if agent else 0,
            asn=asn,
            country=country,
            networks=networks,
            is_bot=agent is not None and agent.kind == int(AgentKind.BOT),
        )


def _locate(events: Sequence[SpooledEvent], places: PlaceSources) -> list[tuple[int, int, int]]:
    """Look up where events came from, each distinct address once: country, autonomous system, networks."""
    # What a server sends says where the server is.
    told = [event.address if event.record.source is not EventSource.SERVER else _NOBODY for event in events]
    distinct = sorted(set(told) - {_NOBODY})
    if not distinct:
        return [(0, 0, 0)] * len(events)
    rows = np.frombuffer(b"".join(distinct), np.uint8).reshape(-1, 16)
    numbers = places.asns.asns(rows)
    countries = places.countries.locate(rows).countries
    classes = places.networks.classes(rows, numbers)
    # An address is shared up to a day, and one address may send events on several.
    shared = places.networks.shared.lookup(rows) if len(places.networks.shared) else np.full(len(distinct), -1)
    table = dict(
        zip(
            distinct,
            zip(countries.tolist(), numbers.tolist(), classes.tolist(), shared.tolist(), strict=True),
            strict=True,
        )
    )
    found = []
    for event, address in zip(events, told, strict=True):
        country, asn, networks, until = table.get(address, (0, 0, 0, -1))
        if until >= 0 and micros(event.received_at) // DAY_US <= until:
            networks |= int(NetworkClass.SHARED)
        found.append((int(country), int(asn), int(networks)))
    return found
