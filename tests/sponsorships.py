"""Something of all that a sponsor may have, as rows: what there is once conversions have come and reports were made."""

from __future__ import annotations

import datetime as dt
from typing import Final, LiteralString, NamedTuple
from uuid import UUID

from analytics_core.db.links import add_link
from analytics_core.db.pool import Connection, open_pool, tenant_transaction
from analytics_core.db.sponsors import SponsorFields, add_sponsor
from analytics_core.ids import new_id
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from tests.factories import MadePodcast
from tests.ledgers import NOW

__all__ = ("Sponsorship", "make_results", "make_sponsorship", "sell")

_BEGIN: Final = NOW - dt.timedelta(days=2)
_END: Final = NOW + dt.timedelta(days=30)

_ORDER: Final[LiteralString] = """
insert into app.insertion_orders (tenant_id, insertion_order_id, sponsor_id, number, name, reference, currency, status,
    created_at)
values ($1, $2, $3, (select count(*) + 1 from app.insertion_orders), 'Autumn', 'PO-1', 'EUR', 'open', $4)"""

_CAMPAIGN: Final[LiteralString] = """
insert into app.campaigns (tenant_id, campaign_id, sponsor_id, insertion_order_id, currency, name, status, starts_on,
    ends_on, pricing, budget_amount, model, window_days, utm, created_at, activated_at)
values ($1, $2, $3, $4, 'EUR', 'Launch', 'active', $5, $6, 'cpm', 100000, 'linear', 30,
    '{"utm_campaign": "{campaign}"}', $7, $7)"""

_FLIGHT: Final[LiteralString] = """
insert into app.flights (tenant_id, flight_id, campaign_id, sponsor_id, currency, name, status, starts_at, ends_at,
    booked_impressions, price_amount, window_days, makegood_of, created_at)
values ($1, $2, $3, $4, 'EUR', 'First', 'active', $5, $6, 1000, 2500, 14, $7, $8)"""

_SLOT: Final[LiteralString] = """
insert into app.ad_slots (tenant_id, ad_slot_id, podcast_id, name, position, max_seconds, per_episode, created_at)
values ($1, $2, $3, 'Middle', 'mid', 60, 2, $4) returning ad_slot_no"""

_PLACEMENT: Final[LiteralString] = """
insert into app.placements (tenant_id, placement_id, flight_id, campaign_id, sponsor_id, podcast_id, episode_id,
    tenant_no, podcast_no, episode_no, ad_slot_id, ad_slot_no, position, delivery, status, live_from, live_until,
    created_at)
select e.tenant_id, $1, $2, $3, $4, e.podcast_id, e.episode_id, e.tenant_no, e.podcast_no, e.episode_no, $5, $6, 'mid',
    'baked_in', 'live', $7, $8, $9
from app.episodes e where e.podcast_id = $10 order by e.episode_no limit 1"""

_CODE: Final[LiteralString] = """
insert into app.promo_codes (tenant_id, promo_code_id, sponsor_id, campaign_id, flight_id, code, valid_from,
    valid_until, created_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $7)"""

_ANSWER: Final[LiteralString] = """
insert into app.survey_options (tenant_id, survey_option_id, sponsor_id, campaign_id, flight_id, answer, answer_key,
    created_at)
values ($1, $2, $3, $4, $5, 'In a podcast', $6, $7)"""

_ACTION: Final[LiteralString] = """
insert into app.conversion_actions (tenant_id, action_id, sponsor_id, name, name_key, category, event_type,
    default_value_amount, currency, created_at)
values ($1, $2, $3, $4, $5, 'purchase', $6, 500, 'EUR', $7)"""

_CONVERSION: Final[LiteralString] = """
insert into app.conversions (tenant_id, conversion_id, action_id, sponsor_id, external_id, said_hash, source,
    occurred_at, received_at, value_amount, currency, click_id, promo_code, survey_answer, customer_key, new_customer,
    referrer_host)
values ($1, $2, $3, $4, 'o-1', $5, 'api', $6, $6, 4900, 'EUR', $7, 'Acme 10', 'In a podcast', $8, true,
    'shop.example.com')"""

_ADJUSTMENT: Final[LiteralString] = """
insert into app.conversion_adjustments (tenant_id, adjustment_id, conversion_id, kind, value_amount, external_id,
    said_hash, reason, adjusted_at, received_at)
values ($1, $2, $3, 'restate', 2900, 'r-1', $4, 'half came back', $5, $5)"""

_SIGNAL: Final[LiteralString] = """
insert into app.customer_signals (tenant_id, event_id, customer_key, occurred_at, received_at, promo_code)
values ($1, $2, $3, $4, $4, 'ACME10')"""

_INTAKE: Final[LiteralString] = """
insert into app.event_intake (tenant_id, day, type, outcome, found_id, sponsor_id, events)
values ($1, date '2026-11-02', 'purchase', 'conversion', $2, $2, 3)"""

_REACH: Final[LiteralString] = """
insert into app.reach_months (tenant_id, sponsor_id, level, subject_id, month, reach, impressions, computed_at)
values ($1, $2, $3, $4, date '2026-11-01', 7, 9, $5)"""

_RUN: Final[LiteralString] = """
insert into app.attribution_runs (tenant_id, run_id, sponsor_id, starts_at, ends_at, models, params, params_hash,
    cutoff_at, code_version, created_at, status, finished_at)
values ($1, $2, $3, $4, $5, '{linear}', '{}', $6, $5, 'test', $5, 'ready', $5)"""

_RESULTS: Final[tuple[LiteralString, ...]] = (
    """
insert into app.attributed_conversions (tenant_id, run_id, conversion_id, sponsor_id, occurred_at, value_amount,
    currency, status, campaign_id, flight_id, signal)
select r.tenant_id, r.run_id, c.conversion_id, r.sponsor_id, c.occurred_at, c.value_amount, c.currency, 'attributed',
    f.campaign_id, f.flight_id, 'code'
from app.attribution_runs r, app.conversions c, app.flights f
where r.run_id = $1 and c.conversion_id = $2 and f.flight_id = $3""",
    """
insert into app.attribution_touches (tenant_id, run_id, conversion_id, touch_no, sponsor_id, campaign_id, flight_id,
    kind, occurred_at)
select tenant_id, run_id, conversion_id, 0, sponsor_id, campaign_id, flight_id, 'code', occurred_at
from app.attributed_conversions where run_id = $1 and conversion_id = $2 and flight_id = $3""",
    """
insert into app.attribution_credits (tenant_id, run_id, conversion_id, model, touch_no, sponsor_id, credit_ppm,
    value_amount)
select tenant_id, run_id, conversion_id, 'linear', 0, sponsor_id, 1000000, value_amount
from app.attributed_conversions where run_id = $1 and conversion_id = $2 and flight_id = $3""",
    """
insert into app.attribution_totals (tenant_id, run_id, sponsor_id, model, campaign_id, flight_id, currency,
    conversions_ppm, new_customers_ppm, value_amount)
select tenant_id, run_id, sponsor_id, 'linear', campaign_id, flight_id, 'EUR', 1000000, 1000000, value_amount
from app.attributed_conversions where run_id = $1 and conversion_id = $2 and flight_id = $3""",
)

_REPORT: Final[LiteralString] = """
insert into app.reports (tenant_id, report_id, sponsor_id, kind, format, params, status, sha256, bytes, created_at,
    finished_at, expires_at)
values ($1, $2, $3, 'sponsor', 'json', '{}', 'ready', $4, 2, $5, $5, $6)"""

_FILE: Final[LiteralString] = """
insert into app.report_files (tenant_id, report_id, content) values ($1, $2, '{}')"""

_SHARE: Final[LiteralString] = """
insert into app.report_shares (tenant_id, share_id, report_id, token_hash, expires_at, created_at)
values ($1, $2, $3, sha256(uuid_send($2)), $4, $5)"""


class Sponsorship(NamedTuple):
    """What was made."""

    insertion_order_id: UUID
    campaign_id: UUID
    flight_id: UUID
    placement_id: UUID
    action_id: UUID
    conversion_id: UUID
    customer_key: UUID


async def make_sponsorship(
    conn: Connection,
    podcast: MadePodcast,
    sponsor_id: UUID,
    *,
    code: str = "ACME10",
    action: str = "Purchase",
    in_slot: bool = True,
    customer_key: UUID | None = None,
) -> Sponsorship:
    """Give a sponsor an order with a campaign, two flights, a placement in the first episode, and a conversion.

    Args:
        conn: As the API, in a transaction of the tenant.
        podcast: In which it is heard.
        sponsor_id: Whose it is.
        code: The first flight's promo code.
        action: The name of its action.
        in_slot: Whether the placement has a slot, of which there is room for one.
        customer_key: Of who converted; made up where it is not given.
    """
    tenant_id = podcast.tenant.tenant_id
    made = Sponsorship(*(new_id() for _ in Sponsorship._fields))
    if customer_key is not None:
        made = made._replace(customer_key=customer_key)
    await conn.execute(_ORDER, tenant_id, made.insertion_order_id, sponsor_id, NOW)
    await conn.execute(
        _CAMPAIGN,
        tenant_id,
        made.campaign_id,
        sponsor_id,
        made.insertion_order_id,
        _BEGIN.date(),
        _END.date(),
        NOW,
    )
    of_flight = (tenant_id, made.flight_id, made.campaign_id, sponsor_id)
    await conn.execute(_FLIGHT, *of_flight, _BEGIN, _END, None, NOW)
    makegood = (tenant_id, new_id(), made.campaign_id, sponsor_id)
    await conn.execute(_FLIGHT, *makegood, _END, _END + dt.timedelta(days=7), made.flight_id, NOW)
    slot_id, slot_no = None, None
    if in_slot:
        slot_id = new_id()
        slot_no = await conn.fetchval(_SLOT, tenant_id, slot_id, podcast.podcast_id, NOW)
    await conn.execute(
        _PLACEMENT,
        made.placement_id,
        made.flight_id,
        made.campaign_id,
        sponsor_id,
        slot_id,
        slot_no,
        _BEGIN,
        _END,
        NOW,
        podcast.podcast_id,
    )
    of_code = (tenant_id, new_id(), sponsor_id, made.campaign_id, made.flight_id)
    await conn.execute(_CODE, *of_code, code, _BEGIN, _END)
    of_answer = (tenant_id, new_id(), sponsor_id, made.campaign_id, made.flight_id)
    await conn.execute(_ANSWER, *of_answer, UUID(int=made.flight_id.int ^ 1), NOW)
    await conn.execute(
        _ACTION,
        tenant_id,
        made.action_id,
        sponsor_id,
        action,
        UUID(bytes=action.encode()[:16].ljust(16)),
        f"bought_{code.lower()}",
        NOW,
    )
    of_conversion = (tenant_id, made.conversion_id, made.action_id, sponsor_id)
    await conn.execute(_CONVERSION, *of_conversion, bytes(32), NOW, new_id(), made.customer_key)
    await conn.execute(_ADJUSTMENT, tenant_id, new_id(), made.conversion_id, bytes(32), NOW)
    return made


async def make_results(conn: Connection, podcast: MadePodcast, sponsor_id: UUID, made: Sponsorship) -> None:
    """Add what jobs make of it, and a host of its own for a link of the sponsor's; as the owner of the tables."""
    tenant_id = podcast.tenant.tenant_id
    await conn.execute(_SIGNAL, tenant_id, new_id(), made.customer_key, NOW - dt.timedelta(hours=1))
    await conn.execute(_INTAKE, tenant_id, sponsor_id)
    for level, subject in (("flight", made.flight_id), ("campaign", made.campaign_id), ("sponsor", sponsor_id)):
        await conn.execute(_REACH, tenant_id, sponsor_id, level, subject, NOW)
    run_id = new_id()
    await conn.execute(_RUN, tenant_id, run_id, sponsor_id, _BEGIN, NOW, bytes(32))
    for statement in _RESULTS:
        await conn.execute(statement, run_id, made.conversion_id, made.flight_id)
    report_id = new_id()
    await conn.execute(_REPORT, tenant_id, report_id, sponsor_id, bytes(32), NOW, _END)
    await conn.execute(_FILE, tenant_id, report_id)
    await conn.execute(_SHARE, tenant_id, new_id(), report_id, _END, NOW)
    await conn.execute(
        "insert into app.vanity_hosts (tenant_id, vanity_host_id, tenant_no, host, link_id, created_at)"
        " select l.tenant_id, $1, l.tenant_no, l.slug || '.show.example', l.link_id, $2 from app.links l"
        " where l.sponsor_id = $3 order by l.link_no limit 1",
        new_id(),
        NOW,
        sponsor_id,
    )
    await conn.execute(
        "insert into ops.event_marks (tenant_no, event_id, received_at, marked_at, due_at) values ($1, $2, $3, $3, $3)",
        int(podcast.tenant.tenant_no),
        new_id(),
        NOW,
    )


async def sell(
    database: DatabaseSettings,
    podcast: MadePodcast,
    *,
    name: str = "Acme",
    code: str = "ACME10",
    action: str = "Purchase",
    in_slot: bool = True,
    customer_key: UUID | None = None,
) -> tuple[UUID, Sponsorship]:
    """Make a sponsor with a link and something of all else; returns its id, and what else it has."""
    pool = await open_pool(database, Role.API, application_name="test", max_size=1)
    owner = await open_pool(database, Role.OWNER, application_name="test", max_size=1)
    try:
        async with tenant_transaction(pool, podcast.tenant) as conn:
            sponsor = await add_sponsor(conn, podcast.tenant, SponsorFields(name=name), now=NOW)
            made = await make_sponsorship(
                conn, podcast, sponsor.sponsor_id, code=code, action=action, in_slot=in_slot, customer_key=customer_key
            )
            link_id = await add_link(
                conn,
                podcast.tenant,
                slug=f"go-{code.lower()}",
                url="https://shop.example.com/",
                utm={},
                click_id=False,
                now=NOW,
                sponsor_id=sponsor.sponsor_id,
            )
            await conn.execute(
                "update app.links set campaign_id = $2, flight_id = $3 where link_id = $1",
                link_id,
                made.campaign_id,
                made.flight_id,
            )
        async with tenant_transaction(owner, podcast.tenant) as conn:
            await make_results(conn, podcast, sponsor.sponsor_id, made)
    finally:
        await pool.close()
        await owner.close()
    return sponsor.sponsor_id, made
