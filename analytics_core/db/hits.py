"""Hits and downloads: written by column, one row a hit and the best hit of each listener, episode and day."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, LiteralString, NamedTuple, Self, TypeAlias

import asyncpg
import msgspec
import numpy as np
import numpy.typing as npt

from analytics_core.day_profiles import profile_from_stored
from analytics_core.db.copying import CopyFormat, Keys
from analytics_core.db.pool import Connection
from analytics_core.profiles import Profile

__all__ = (
    "HIT_COLUMNS",
    "HIT_LAYOUT",
    "DayPartitions",
    "DayRow",
    "Downloads",
    "HitColumns",
    "HitRows",
    "HitSource",
    "Integers",
    "NotedDays",
    "add_marks",
    "copy_downloads",
    "copy_hits",
    "encode_downloads",
    "encode_hits",
    "ensure_partitions",
    "find_partitions",
    "hold_days_open",
    "lock_finality",
    "mark_final",
    "note_days",
    "read_download_keys",
    "upsert_downloads",
)

Integers: TypeAlias = npt.NDArray[np.int64]


class HitSource(enum.IntEnum):
    """How a hit was told to us."""

    PREFIX = 1
    LOG = 2
    """A line of an access log that was imported."""

    @property
    def label(self) -> str:
        """The name that is shown.

        >>> HitSource.PREFIX.label, HitSource.LOG.label
        ('prefix', 'log')
        """
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class HitColumns:
    """Judged hits by column, all of one length; ``listener_key`` has two columns of eight bytes.

    Times are microseconds since 1970-01-01 UTC. ``episode_no`` is 0 where the episode is unknown, ``asn`` where nobody
    knows whose network the address is of, ``place_no`` where nobody knows more of it than the country; ``networks`` are
    unions of ``analytics_core.networks.NetworkClass``.
    """

    occurred_at: Integers
    range_first: Integers
    range_last: Integers
    listener_key: Keys
    segment_no: Integers
    ordinal: Integers
    tenant_no: Integers
    podcast_no: Integers
    episode_no: Integers
    agent_no: Integers
    referrer_no: Integers
    feed_app_no: Integers
    verdict_bits: Integers
    verdict: Integers
    evidence: Integers
    country: Integers
    kind: Integers
    method: Integers
    range_kind: Integers
    flags: Integers
    source: Integers
    rules: Integers
    asn: Integers
    networks: Integers
    place_no: Integers

    def __len__(self) -> int:
        return len(self.occurred_at)

    @classmethod
    def empty(cls) -> Self:
        """Make columns of no hit."""
        columns: dict[str, npt.NDArray[Any]] = {field.name: np.empty(0, np.int64) for field in fields(cls)}
        return cls(**{**columns, "listener_key": np.empty((0, 2), np.uint64)})

    @property
    def day(self) -> Integers:
        """The UTC days, counted from 1970-01-01."""
        return self.occurred_at // 86_400_000_000

    def select(self, chosen: npt.NDArray[np.bool_] | npt.NDArray[np.intp] | slice) -> Self:
        """Take some of the hits: by a mask, by their places in the order wanted, or those between two, not copied."""
        return type(self)(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def followed_by(self, other: Self) -> Self:
        """Put more hits behind these."""
        return type(self)(
            *(np.concatenate((getattr(self, field.name), getattr(other, field.name))) for field in fields(self))
        )

    def as_mapping(self) -> dict[str, npt.NDArray[Any]]:
        """The columns by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


HitRows: TypeAlias = npt.NDArray[Any]
"""Hits as they are sent to the database."""

Downloads: TypeAlias = HitColumns
"""Hits of which each is the best of its batch for its listener, episode and day, sorted by that key."""


class DayRow(msgspec.Struct, frozen=True):
    """What is known of a tenant's day; ``profile`` is what its hits are judged by, as it is stored."""

    tenant_no: int
    day: dt.date
    is_final: bool
    is_dropped: bool
    profile: dict[str, Any] | None


class NotedDays(NamedTuple):
    """What is to be known of tenants' days before hits are written.

    Attributes:
        final: Those that are final.
        profiles: What hits are judged by on those that do not have the default profile.
    """

    final: set[tuple[int, dt.date]]
    profiles: dict[tuple[int, dt.date], Profile]


class DayPartitions(NamedTuple):
    """The partitions of a UTC day by name; ``None`` is the table that they belong to."""

    hits: str | None = None
    downloads: str | None = None


HIT_COLUMNS: Final = (
    ("occurred_at", "timestamptz"),
    ("range_first", "bigint"),
    ("range_last", "bigint"),
    ("listener_key", "uuid"),
    ("segment_no", "integer"),
    ("ordinal", "integer"),
    ("tenant_no", "integer"),
    ("podcast_no", "integer"),
    ("episode_no", "integer"),
    ("agent_no", "integer"),
    ("referrer_no", "integer"),
    ("feed_app_no", "integer"),
    ("verdict_bits", "integer"),
    ("verdict", "smallint"),
    ("evidence", "smallint"),
    ("country", "smallint"),
    ("kind", "smallint"),
    ("method", "smallint"),
    ("range_kind", "smallint"),
    ("flags", "smallint"),
    ("source", "smallint"),
    ("rules", "smallint"),
    ("asn", "integer"),
    ("networks", "smallint"),
    ("place_no", "integer"),
)
"""The columns of hits with their types, in the order in which they are sent."""

_HITS: Final = CopyFormat("listener_events", schema="ts", columns=HIT_COLUMNS)

HIT_LAYOUT: Final = _HITS.dtype
"""What :func:`encode_hits` lays each hit out as."""

_DOWNLOAD_COLUMNS: Final = (
    ("day", "date"),
    ("episode_no", "integer"),
    ("listener_key", "uuid"),
    ("occurred_at", "timestamptz"),
    ("segment_no", "integer"),
    ("ordinal", "integer"),
    ("tenant_no", "integer"),
    ("podcast_no", "integer"),
    ("agent_no", "integer"),
    ("referrer_no", "integer"),
    ("feed_app_no", "integer"),
    ("country", "smallint"),
    ("evidence", "smallint"),
    ("source", "smallint"),
    ("place_no", "integer"),
)
_DOWNLOADS: Final = CopyFormat("downloads", schema="ts", columns=_DOWNLOAD_COLUMNS)
_STAGED: Final = CopyFormat("staged_downloads", schema="pg_temp", columns=_DOWNLOAD_COLUMNS)
_KEYS: Final = CopyFormat("downloads", schema="ts", columns=(("episode_no", "integer"), ("listener_key", "uuid")))

_MARKS: Final = CopyFormat(
    "dirty_marks",
    schema="ops",
    columns=(("tenant_no", "integer"), ("podcast_no", "integer"), ("episode_no", "integer"), ("day", "date")),
)

_EPOCH: Final = dt.date(1970, 1, 1)

_ENSURE: Final[LiteralString] = """/* hits.ensure_partitions */ select ops.ensure_partitions($1::date[])"""

# A table before its partitions, as everybody locks them who writes to it or changes it.
_LOCK_TABLES: Final[LiteralString] = """/* hits.lock_tables */
lock table only ts.listener_events, only ts.downloads in row exclusive mode"""

# One that somebody attached by hand may be there without what ingest needs of it.
_CAN_COPY: Final[LiteralString] = """/* hits.can_copy */
select bool_and(coalesce(has_table_privilege(to_regclass(n)::oid, 'insert'), false)) from unnest($1::text[]) n"""

_LOCK_SHARED: Final[LiteralString] = """/* days.lock_shared */
select pg_advisory_xact_lock_shared(hashtext('castledger.finality'))"""

_LOCK: Final[LiteralString] = """/* days.lock */ select pg_advisory_xact_lock(hashtext('castledger.finality'))"""

# An open day is kept from being counted anew meanwhile: FOR KEY SHARE waits for FOR UPDATE, and for nothing else. What
# is read of it is as it is once the lock is held. A final day is not locked: what lands on it counts nowhere.
_FIND_DAYS: Final[LiteralString] = """/* days.find */
with open as materialized (
    select d.tenant_no, d.day, false as is_final, d.hits_dropped_at is not null as is_dropped, d.profile
    from unnest($1::integer[], $2::date[]) as n(tenant_no, day) join ops.days d using (tenant_no, day)
    where d.final_at is null order by d.tenant_no, d.day for key share of d
)
select * from open
union all
select d.tenant_no, d.day, true, d.hits_dropped_at is not null, d.profile
from unnest($1::integer[], $2::date[]) as n(tenant_no, day) join ops.days d using (tenant_no, day)
where d.final_at is not null"""

_ADD_DAYS: Final[LiteralString] = """/* days.add */
insert into ops.days as old (tenant_no, day, rekeyed, profile)
select n.tenant_no, n.day, n.rekeyed, case when n.day >= t.profile_from then t.profile else t.profile_before end
from unnest($1::integer[], $2::date[], $3::boolean[]) as n(tenant_no, day, rekeyed)
left join app.tenants t using (tenant_no)
order by n.tenant_no, n.day
on conflict (tenant_no, day) do update
    set rekeyed = old.rekeyed or excluded.rekeyed, hits_dropped_at = null,
        hits_incomplete = old.hits_incomplete or old.hits_dropped_at is not null
    where excluded.rekeyed and not old.rekeyed or old.hits_dropped_at is not null"""

_MARK_FINAL: Final[LiteralString] = """/* days.mark_final */
update ops.days set final_at = $2
where day <= $1 and final_at is null and tenant_no not in (
    select objid::bigint from pg_locks
    where locktype = 'advisory' and classid = (hashtext('castledger.catch_up')::bigint & 4294967295)::oid
        and objsubid = 2 and database = (select oid from pg_database where datname = current_database())
)"""

_HOLD_OPEN: Final[LiteralString] = """/* days.hold_open */
select pg_advisory_lock_shared(hashtext('castledger.catch_up'), $1)"""

_STAGE: Final[LiteralString] = """/* downloads.stage */
create temporary table if not exists staged_downloads (like ts.downloads) on commit delete rows"""

# Most of what is merged changes nothing. The conflict alone would lock each row, which is to write its page and, once a
# checkpoint, all of it to the log: so the row is looked at first, by its key, whatever the planner thinks of a join
# (`offset 0`), among the days that there are any of ($1, $2). What is there can only become better meanwhile: whoever
# takes downloads of an open day away waits for who lands on it, or looks at what landed once more.
_UPSERT: Final[LiteralString] = """/* downloads.upsert */
insert into ts.downloads as old (day, episode_no, listener_key, occurred_at, segment_no, ordinal, tenant_no, podcast_no,
    agent_no, referrer_no, feed_app_no, country, evidence, source, place_no)
select day, episode_no, listener_key, occurred_at, segment_no, ordinal, tenant_no, podcast_no, agent_no, referrer_no,
    feed_app_no, country, evidence, source, place_no
from pg_temp.staged_downloads s
where not exists (
    select from ts.downloads d
    where d.day between $1 and $2
      and d.day = s.day and d.episode_no = s.episode_no and d.listener_key = s.listener_key
      and (d.evidence, s.occurred_at, s.segment_no, s.ordinal) >= (s.evidence, d.occurred_at, d.segment_no, d.ordinal)
    offset 0
)
order by day, episode_no, listener_key
on conflict (day, episode_no, listener_key) do update
    set occurred_at = excluded.occurred_at, segment_no = excluded.segment_no, ordinal = excluded.ordinal,
        tenant_no = excluded.tenant_no, podcast_no = excluded.podcast_no, agent_no = excluded.agent_no,
        referrer_no = excluded.referrer_no, feed_app_no = excluded.feed_app_no, country = excluded.country,
        evidence = excluded.evidence, source = excluded.source, place_no = excluded.place_no
    where (excluded.evidence, old.occurred_at, old.segment_no, old.ordinal)
        > (old.evidence, excluded.occurred_at, excluded.segment_no, excluded.ordinal)"""

_READ_KEYS: Final[LiteralString] = """/* downloads.read_keys */
select episode_no, listener_key from ts.downloads where day = $1 limit $2"""


async def ensure_partitions(conn: Connection, days: Collection[dt.date]) -> None:
    """Make sure that hits and downloads of these UTC days have a place."""
    await conn.execute(_ENSURE, sorted(days))


async def find_partitions(conn: Connection, day: dt.date) -> DayPartitions:
    """Find what a UTC day's hits and downloads can be copied into; under TimescaleDB that is the tables alone.

    Args:
        conn: In the transaction that has made sure of them by :func:`ensure_partitions`.
        day: The day.
    """
    hits, downloads = (f"{table}_{day:%Y%m%d}" for table in (_HITS.table, _DOWNLOADS.table))
    if not await conn.fetchval(_CAN_COPY, [f"ts.{hits}", f"ts.{downloads}"]):
        return DayPartitions()
    await conn.execute(_LOCK_TABLES)
    return DayPartitions(hits, downloads)


async def lock_finality(conn: Connection, *, exclusive: bool = False) -> None:
    """Keep days from becoming final until the transaction ends; *exclusive* waits for all who land.

    Without it a day could become final between a writer's look at it and its commit.
    """
    await conn.execute(_LOCK if exclusive else _LOCK_SHARED)


async def note_days(
    conn: Connection, days: Iterable[tuple[int, dt.date]], *, rekeyed: Collection[tuple[int, dt.date]] = ()
) -> NotedDays:
    """Note that tenants have hits on these days, and tell what is known of these.

    Those that are not final are not counted anew until the transaction ends; where somebody does it just now, that is
    waited for.

    Args:
        conn: In a READ COMMITTED transaction that holds :func:`lock_finality`.
        days: Pairs of tenant and UTC day.
        rekeyed: Those among *days* whose listeners have keys that cannot be compared with others of the day.
    """
    wanted = sorted(set(days))
    found = await _find_days(conn, wanted)
    # A day whose hits are gone has some again, which are to go as well.
    known = {(row.tenant_no, row.day) for row in found if not row.is_dropped}
    added = [pair for pair in wanted if pair not in known or pair in rekeyed]
    if added:
        await conn.execute(
            _ADD_DAYS,
            [tenant_no for tenant_no, _ in added],
            [day for _, day in added],
            [pair in rekeyed for pair in added],
        )
        # Whoever was faster may have been judged otherwise meanwhile.
        found = await _find_days(conn, wanted)
    return NotedDays(
        {(row.tenant_no, row.day) for row in found if row.is_final},
        {(row.tenant_no, row.day): profile_from_stored(row.profile) for row in found if row.profile is not None},
    )


async def _find_days(conn: Connection, days: Sequence[tuple[int, dt.date]]) -> list[DayRow]:
    rows = await conn.fetch(_FIND_DAYS, [tenant_no for tenant_no, _ in days], [day for _, day in days])
    return [msgspec.convert(row, DayRow) for row in rows]


async def mark_final(conn: Connection, *, until: dt.date, now: dt.datetime) -> int:
    """Mark noted days up to *until* as final, in a transaction that holds :func:`lock_finality` alone.

    Those of tenants for whom someone holds days open are left for the next time.
    """
    return int(str(await conn.execute(_MARK_FINAL, until, now)).split()[-1])


async def hold_days_open(conn: Connection, tenant_no: int) -> None:
    """Keep a tenant's days from becoming final while hits of old days are on their way: a replay, an import.

    Args:
        conn: Outside a transaction. It lasts until the connection ends, however that ends.
        tenant_no: Whose days; days that are final already stay so.
    """
    await conn.execute(_HOLD_OPEN, tenant_no)


def encode_hits(hits: HitColumns) -> HitRows:
    """Lay hits out as they are sent: work that can be done before their turn has come.

    Raises:
        OverflowError: A number does not fit into its column.
    """
    return _HITS.encode(hits.as_mapping())


async def copy_hits(conn: Connection, rows: HitRows, *, partition: str | None = None) -> None:
    """Append hits, laid out by :func:`encode_hits`; *partition* is that of all their days, if they have one."""
    await _HITS.send(conn, rows, partition=partition)


async def upsert_downloads(conn: Connection, downloads: Downloads) -> None:
    """Merge downloads into the stored ones: a row keeps the better hit, whatever came first.

    Args:
        conn: In a transaction.
        downloads: Eligible hits, one a key, sorted by key, so that writers meet in one order and never deadlock.
    """
    if not len(downloads):
        return
    await conn.execute(_STAGE)
    await _STAGED.copy(conn, {**downloads.as_mapping(), "day": downloads.day})
    first, last = (_EPOCH + dt.timedelta(days=int(downloads.day[place])) for place in (0, -1))
    await conn.execute(_UPSERT, first, last)


def encode_downloads(downloads: Downloads) -> HitRows:
    """Lay downloads out as they are copied: eligible hits, one a key, sorted by key.

    Raises:
        OverflowError: A number does not fit into its column.
    """
    return _DOWNLOADS.encode({**downloads.as_mapping(), "day": downloads.day})


async def copy_downloads(conn: Connection, rows: HitRows, *, partition: str | None = None) -> bool:
    """Write downloads that are probably not there yet.

    Args:
        conn: In a transaction; what is done here is undone alone when it fails.
        rows: Laid out by :func:`encode_downloads`.
        partition: That of all their days, if they have one.

    Returns:
        Whether they were written: not one of them was there.
    """
    if not len(rows):
        return True
    try:
        async with conn.transaction():
            await _DOWNLOADS.send(conn, rows, partition=partition)
    except asyncpg.UniqueViolationError:
        return False
    return True


async def read_download_keys(
    conn: Connection, day: dt.date, *, limit: int, take: Callable[[Integers, Keys], None]
) -> int:
    """Read the keys of a UTC day's downloads, some thousand at a time.

    Args:
        conn: In a transaction.
        day: The day.
        limit: Most that are read.
        take: Called with numbers of episodes and as many keys of listeners.

    Returns:
        How many there were; no more than *limit*.
    """
    return await _KEYS.read(
        conn, _READ_KEYS, day, limit, take=lambda columns: take(columns["episode_no"], columns["listener_key"])
    )


async def add_marks(conn: Connection, downloads: Downloads) -> int:
    """Mark the rollups of these downloads' episodes and days as out of date.

    Args:
        conn: In the transaction that writes them.
        downloads: Sorted by day and episode.

    Returns:
        The number of marks: one a day and episode.
    """
    if not len(downloads):
        return 0
    day, episode_no = downloads.day, downloads.episode_no
    first = np.ones(len(downloads), np.bool_)
    first[1:] = (day[1:] != day[:-1]) | (episode_no[1:] != episode_no[:-1])
    await _MARKS.copy(
        conn,
        {
            "tenant_no": downloads.tenant_no[first],
            "podcast_no": downloads.podcast_no[first],
            "episode_no": episode_no[first],
            "day": day[first],
        },
    )
    return int(first.sum())
