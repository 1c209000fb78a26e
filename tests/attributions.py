"""Sponsors with campaigns, and conversions of theirs: rows as the API and ingest leave them, written by hand."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
from collections.abc import AsyncIterator
from typing import Any, Final, TypeAlias
from uuid import UUID

import asyncpg

from analytics_core.conversions import answer_key
from analytics_core.db.pool import Tenant
from analytics_core.ids import new_id
from analytics_core.settings import DatabaseSettings
from analytics_core.sponsors import name_key
from tests.postgres import operator_url

__all__ = ("START", "MadeSponsor", "customer", "open_operator")

_Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

START: Final = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
"""When everything was made that is needed before conversions."""

_NOBODY: Final = bytes(32)


@contextlib.asynccontextmanager
async def open_operator(database: DatabaseSettings) -> AsyncIterator[_Connection]:
    """Open a session that may do everything."""
    conn: _Connection = await asyncpg.connect(operator_url(database))
    try:
        yield conn
    finally:
        await conn.close()


class MadeSponsor:
    """One sponsor of a tenant.

    Args:
        operator: May do everything.
        tenant: Whose sponsor.
        sponsor_id: Which; made by :meth:`make`.
    """

    def __init__(self, operator: _Connection, tenant: Tenant, sponsor_id: UUID) -> None:
        self.operator = operator
        self.tenant = tenant
        self.sponsor_id = sponsor_id
        self._made = 0
        self._campaigns: dict[UUID, UUID] = {}

    @classmethod
    async def make(cls, operator: _Connection, tenant: Tenant, name: str = "Acme") -> MadeSponsor:
        """Make a sponsor."""
        sponsor_id = new_id()
        await operator.execute(
            "insert into app.sponsors (tenant_id, sponsor_id, name, name_key, created_at) values ($1, $2, $3, $4, $5)",
            tenant.tenant_id,
            sponsor_id,
            name,
            name_key(name),
            START,
        )
        return cls(operator, tenant, sponsor_id)

    async def campaign(
        self,
        name: str = "Launch",
        *,
        currency: str = "EUR",
        window_days: int = 30,
        excludes_prior_customers: bool = False,
    ) -> UUID:
        """Make a campaign, in an order of its own."""
        order_id, campaign_id = new_id(), new_id()
        self._made += 1
        number = await self.operator.fetchval(
            "select coalesce(max(number), 0) + 1 from app.insertion_orders where tenant_id = $1", self.tenant.tenant_id
        )
        await self.operator.execute(
            """insert into app.insertion_orders (tenant_id, insertion_order_id, sponsor_id, number, name, currency,
                created_at) values ($1, $2, $3, $4, $5, $6, $7)""",
            self.tenant.tenant_id,
            order_id,
            self.sponsor_id,
            number,
            name,
            currency,
            START,
        )
        await self.operator.execute(
            """insert into app.campaigns (tenant_id, campaign_id, sponsor_id, insertion_order_id, currency, name,
                starts_on, ends_on, pricing, budget_amount, model, window_days, excludes_prior_customers, created_at)
            values ($1, $2, $3, $4, $5, $6, '2026-11-01', '2026-12-31', 'flat', 0, 'linear', $7, $8, $9)""",
            self.tenant.tenant_id,
            campaign_id,
            self.sponsor_id,
            order_id,
            currency,
            name,
            window_days,
            excludes_prior_customers,
            START + dt.timedelta(seconds=self._made),
        )
        return campaign_id

    async def flight(self, campaign_id: UUID, name: str = "Week 1", *, window_days: int | None = None) -> UUID:
        """Make a flight of a campaign."""
        flight_id = new_id()
        await self.operator.execute(
            """insert into app.flights (tenant_id, flight_id, campaign_id, sponsor_id, currency, name, starts_at,
                ends_at, price_amount, window_days, created_at)
            select tenant_id, $2, campaign_id, sponsor_id, currency, $3, $4, $5, 0, $6, $4 from app.campaigns
            where campaign_id = $1""",
            campaign_id,
            flight_id,
            name,
            START,
            START + dt.timedelta(days=60),
            window_days,
        )
        self._campaigns[flight_id] = campaign_id
        return flight_id

    def campaign_of(self, flight_id: UUID) -> UUID:
        """Name the campaign of a flight."""
        return self._campaigns[flight_id]

    async def link(self, slug: str, flight_id: UUID | None, *, is_sponsors: bool = True) -> int:
        """Make a link of a flight; returns its number."""
        number: int = await self.operator.fetchval(
            """insert into app.links (tenant_id, link_id, tenant_no, slug, url, target, utm, click_id, created_at,
                sponsor_id, campaign_id, flight_id)
            values ($1, $2, $3, $4, 'https://shop.example.com/', 'https://shop.example.com/', '{}', true, $5, $6, $7,
                $8) returning link_no""",
            self.tenant.tenant_id,
            new_id(),
            self.tenant.tenant_no,
            slug,
            START,
            self.sponsor_id if is_sponsors else None,
            None if flight_id is None else self._campaigns[flight_id],
            flight_id,
        )
        return number

    async def click(self, link_no: int, at: dt.datetime) -> UUID:
        """Have a link followed; returns the click's id."""
        click_id = new_id()
        self._made += 1
        await self.operator.execute(
            """insert into app.clicks (tenant_no, link_no, occurred_at, segment_no, ordinal, is_bot, click_id)
            values ($1, $2, $3, 1, (select count(*) from app.clicks), false, $4)""",
            self.tenant.tenant_no,
            link_no,
            at,
            click_id,
        )
        return click_id

    async def code(
        self,
        flight_id: UUID,
        code: str,
        *,
        valid_from: dt.datetime = START,
        valid_until: dt.datetime | None = None,
        grace_days: int = 7,
        created_at: dt.datetime = START,
        max_redemptions: int | None = None,
    ) -> UUID:
        """Make a promo code of a flight."""
        promo_code_id = new_id()
        await self.operator.execute(
            """insert into app.promo_codes (tenant_id, promo_code_id, sponsor_id, campaign_id, flight_id, code,
                valid_from, valid_until, grace_days, created_at, max_redemptions)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)""",
            self.tenant.tenant_id,
            promo_code_id,
            self.sponsor_id,
            self._campaigns[flight_id],
            flight_id,
            code,
            valid_from,
            valid_until,
            grace_days,
            created_at,
            max_redemptions,
        )
        return promo_code_id

    async def option(self, flight_id: UUID, answer: str) -> None:
        """Have an answer to the question where somebody heard of it name a flight."""
        await self.operator.execute(
            """insert into app.survey_options (tenant_id, survey_option_id, sponsor_id, campaign_id, flight_id, answer,
                answer_key, created_at) values ($1, $2, $3, $4, $5, $6, $7, $8)""",
            self.tenant.tenant_id,
            new_id(),
            self.sponsor_id,
            self._campaigns[flight_id],
            flight_id,
            answer,
            answer_key(answer),
            START,
        )

    async def place(self, flight_id: UUID, episode_no: int, *days: dt.date) -> UUID:
        """Place a flight in an episode, which was downloaded on some days."""
        placement_id = new_id()
        await self.operator.execute(
            """insert into app.placements (tenant_id, placement_id, flight_id, campaign_id, sponsor_id, podcast_id,
                episode_id, tenant_no, podcast_no, episode_no, position, delivery, status, live_from, live_until,
                created_at)
            select $1, $2, $3, $4, $5, p.podcast_id, e.episode_id, $6, e.podcast_no, e.episode_no, 'mid', 'baked_in',
                'live', $8, $9, $8
            from app.episodes e join app.podcasts p using (podcast_no) where e.episode_no = $7""",
            self.tenant.tenant_id,
            placement_id,
            flight_id,
            self._campaigns[flight_id],
            self.sponsor_id,
            self.tenant.tenant_no,
            episode_no,
            START,
            START + dt.timedelta(days=90),
        )
        await self.operator.executemany(
            """insert into app.placement_daily (tenant_id, sponsor_id, campaign_id, flight_id, placement_id, day,
                downloads, downloads_strict) values ($1, $2, $3, $4, $5, $6, 3, 2)""",
            [
                (self.tenant.tenant_id, self.sponsor_id, self._campaigns[flight_id], flight_id, placement_id, day)
                for day in days
            ],
        )
        return placement_id

    async def action(self, name: str = "Purchase", *, counting: str = "every") -> UUID:
        """Make a conversion action."""
        action_id = new_id()
        await self.operator.execute(
            """insert into app.conversion_actions (tenant_id, action_id, sponsor_id, name, name_key, category, counting,
                created_at) values ($1, $2, $3, $4, $5, 'purchase', $6, $7)""",
            self.tenant.tenant_id,
            action_id,
            self.sponsor_id,
            name,
            name_key(name),
            counting,
            START,
        )
        return action_id

    async def conversion(
        self,
        action_id: UUID,
        at: dt.datetime,
        value: int | None = None,
        *,
        received_at: dt.datetime | None = None,
        currency: str = "EUR",
        **said: Any,
    ) -> UUID:
        """Have something happen; *said* has the columns that may name a flight, or tell of the customer."""
        conversion_id = new_id()
        columns = list(said)
        names = "".join(f", {name}" for name in columns)
        places = "".join(f", ${number}" for number in range(11, 11 + len(columns)))
        await self.operator.execute(
            f"""insert into app.conversions (tenant_id, conversion_id, action_id, sponsor_id, external_id, said_hash,
                source, occurred_at, received_at, value_amount, currency{names})
            values ($1, $2, $3, $4, $5, $6, 'api', $7, $8, $9, $10{places})""",
            self.tenant.tenant_id,
            conversion_id,
            action_id,
            self.sponsor_id,
            str(conversion_id),
            _NOBODY,
            at,
            received_at or at,
            value,
            None if value is None else currency,
            *said.values(),
        )
        return conversion_id

    async def adjust(
        self,
        conversion_id: UUID,
        value: int | None,
        at: dt.datetime,
        *,
        received_at: dt.datetime | None = None,
    ) -> None:
        """Say that a conversion was worth something else, or (``None``) was none."""
        await self.operator.execute(
            """insert into app.conversion_adjustments (tenant_id, adjustment_id, conversion_id, kind, value_amount,
                said_hash, adjusted_at, received_at) values ($1, $2, $3, $4, $5, $6, $7, $8)""",
            self.tenant.tenant_id,
            new_id(),
            conversion_id,
            "retract" if value is None else "restate",
            value,
            _NOBODY,
            at,
            received_at or at,
        )

    async def signal(
        self, customer: UUID, at: dt.datetime, *, received_at: dt.datetime | None = None, **said: Any
    ) -> None:
        """Have a customer do something that names a flight."""
        await self.operator.execute(
            """insert into app.customer_signals (tenant_id, event_id, customer_key, occurred_at, received_at, click_id,
                link, promo_code) values ($1, $2, $3, $4, $5, $6, $7, $8)""",
            self.tenant.tenant_id,
            new_id(),
            customer,
            at,
            received_at or at,
            said.get("click_id"),
            said.get("link"),
            said.get("promo_code"),
        )


def customer(name: str) -> UUID:
    """Name a customer."""
    return UUID(bytes=hashlib.blake2b(name.encode(), digest_size=16).digest())
