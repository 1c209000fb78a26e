"""Which profile days of tenants are judged by: chosen for those to come, changed with the hits of those that were."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from typing import Final, LiteralString

import msgspec

from analytics_core.day_profiles import profile_from_stored, profile_to_store
from analytics_core.db.pool import Connection
from analytics_core.profiles import Profile

__all__ = (
    "EpisodeSize",
    "TenantProfile",
    "find_referrers",
    "list_profiles",
    "list_sizes",
    "read_day_profile",
    "set_day_profile",
    "use_profile",
)


class TenantProfile(msgspec.Struct, frozen=True):
    """What a tenant's days are judged by.

    Attributes:
        profile: Of days from ``profile_from`` on that have no hits yet.
        profile_from: Since which UTC day; ``None`` for all.
        before: Of days before.
        days: How many days with hits each profile has, by its rules in one word.
    """

    slug: str
    profile: Profile
    profile_from: dt.date | None
    before: Profile
    days: dict[str, int]


class EpisodeSize(msgspec.Struct, frozen=True):
    """What a feed says of an episode today: -1 where it says nothing."""

    episode_no: int
    length_bytes: int
    duration_s: int


_READ_DAY: Final[LiteralString] = """/* day_profiles.read */
select final_at is not null as is_final, profile from ops.days where tenant_no = $1 and day = $2"""

_SET_DAY: Final[LiteralString] = """/* day_profiles.set */
update ops.days set profile = $3 where tenant_no = $1 and day = $2"""

_LIST: Final[LiteralString] = """/* day_profiles.list */
select t.slug, t.profile, t.profile_from, t.profile_before, coalesce(d.days, '{}') as days
from app.tenants t left join lateral (
    select jsonb_object_agg(n.rules, n.days) as days from (
        select coalesce((o.profile ->> 'name') || '.' || (o.profile ->> 'version'), $1) as rules, count(*) as days
        from ops.days o where o.tenant_no = t.tenant_no group by 1
    ) n
) d on true order by t.slug"""

# Days that are there already keep what their hits were judged by. What held until now holds before.
_USE: Final[LiteralString] = """/* day_profiles.use */
update app.tenants t set profile = $2, profile_from = n.first,
    profile_before = case when $3::date >= t.profile_from then t.profile else t.profile_before end
from (
    select tenant_no, greatest($3::date + 1, (select max(d.day) + 1 from ops.days d where d.tenant_no = o.tenant_no))
        as first
    from app.tenants o where slug = $1
) n
where t.tenant_no = n.tenant_no returning t.profile_from"""

_SIZES: Final[LiteralString] = """/* day_profiles.sizes */
select distinct on (p.episode_no) p.episode_no, coalesce(c.length_bytes, -1) as length_bytes,
    coalesce(p.duration_s, -1) as duration_s
from app.episodes p left join app.enclosures c using (tenant_id, episode_id)
where p.episode_no = any($1::integer[]) order by p.episode_no, c.gone_at desc nulls first, c.place,
    c.enclosure_key"""

_REFERRERS: Final[LiteralString] = """/* day_profiles.referrers */
select term_no from ops.terms where kind = 'referrer' and term = any($1::text[])"""


async def read_day_profile(conn: Connection, tenant_no: int, day: dt.date) -> tuple[bool, Profile] | None:
    """Read whether a tenant's UTC day is final, and what its hits are judged by; ``None`` when there is no such day."""
    row = await conn.fetchrow(_READ_DAY, tenant_no, day)
    return None if row is None else (row["is_final"], profile_from_stored(row["profile"]))


async def set_day_profile(conn: Connection, tenant_no: int, day: dt.date, profile: Profile) -> None:
    """Note what a tenant's hits of a UTC day are judged by, in the transaction that judges them so."""
    await conn.execute(_SET_DAY, tenant_no, day, profile_to_store(profile))


async def list_profiles(conn: Connection, *, default: Profile) -> list[TenantProfile]:
    """List what each tenant's days are judged by, by slug; as ingest."""
    return [
        TenantProfile(
            row["slug"],
            profile_from_stored(row["profile"]),
            row["profile_from"],
            profile_from_stored(row["profile_before"]),
            row["days"],
        )
        for row in await conn.fetch(_LIST, default.rules_version)
    ]


async def use_profile(conn: Connection, slug: str, profile: Profile, *, today: dt.date) -> dt.date | None:
    """Have a tenant's days be judged by a profile from the next one on that has no hits yet.

    Args:
        conn: As ingest.
        slug: Which tenant.
        profile: One that days can be judged by.
        today: The UTC day.

    Returns:
        The first day; ``None`` when there is no such tenant.
    """
    found: dt.date | None = await conn.fetchval(_USE, slug, profile_to_store(profile), today)
    return found


async def list_sizes(conn: Connection, episode_nos: Collection[int]) -> list[EpisodeSize]:
    """List what feeds say of episodes today, by number; as ingest."""
    return [msgspec.convert(row, EpisodeSize) for row in await conn.fetch(_SIZES, list(episode_nos))]


async def find_referrers(conn: Connection, hosts: Sequence[str]) -> list[int]:
    """Find the numbers of hosts among referrers; as ingest."""
    return [row["term_no"] for row in await conn.fetch(_REFERRERS, list(hosts))]
