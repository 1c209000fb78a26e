"""Which tables an archive has, with which columns, and what of a tenant's is left out and why."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from analytics_core.archives.columns import Column, Kind
from analytics_core.events import EventSource
from analytics_core.network_classes import NetworkClass
from analytics_core.user_agents import AgentKind
from analytics_core.verdicts import NO_VERDICT, Evidence, Verdict

__all__ = ("LEFT_OUT", "TABLES", "Table")


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A table of an archive.

    Rows name podcasts, episodes, links, segments and agents by ids that mean the same in every installation; numbers,
    which do not, are in no file.

    Attributes:
        name: Of its file, or of the folder of its files.
        source: The table whose rows it holds.
        columns: In their order.
        numbers: Columns of the source that hold numbers, with the column here that names the same thing.
        not_kept: Columns of the source that have no meaning elsewhere, with the reason.
        day: The column by whose UTC day rows are in files of their own; ``None`` for one file.
    """

    name: str
    source: str
    columns: tuple[Column, ...]
    numbers: Mapping[str, str] = MappingProxyType({})
    not_kept: Mapping[str, str] = MappingProxyType({})
    day: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(column.name for column in self.columns)


def _reference(name: str, *, nullable: bool = False) -> Column:
    return Column(name, Kind.UUID, nullable, is_stored=False)


_TENANT: Final = "the tenant that it is imported into has its own"
_SERIES: Final = MappingProxyType({"tenant_no": _TENANT})
_BOTH: Final = MappingProxyType({"tenant_no": _TENANT, "tenant_id": _TENANT})
_PLACE: Final = MappingProxyType({"podcast_no": "podcast_id", "episode_no": "episode_id"})
_VERDICT_BITS: Final = sum(verdict.bit for verdict in Verdict)

# What is known of a request beside who and when; the same in hits and in those that wait.
_REQUEST: Final = (
    Column("agent_hash", Kind.UUID, nullable=True, is_stored=False),
    Column("referrer", Kind.TEXT, is_stored=False),
    Column("feed_app", Kind.TEXT, is_stored=False),
    Column("country", Kind.INT16, low=0),
    Column("place", Kind.TEXT, is_stored=False),
    Column("source", Kind.INT16, low=0, high=15),
)
_REQUEST_NUMBERS: Final = MappingProxyType(
    {
        "segment_no": "segment_id",
        "agent_no": "agent_hash",
        "referrer_no": "referrer",
        "feed_app_no": "feed_app",
        "place_no": "place",
    }
)
_RANGE: Final = (
    Column("range_first", Kind.INT64),
    Column("range_last", Kind.INT64),
    Column("range_kind", Kind.INT16, low=0, high=15),
    Column("verdict_bits", Kind.INT32, low=0, high=_VERDICT_BITS),
    Column("kind", Kind.INT16, low=1, high=2),
    Column("method", Kind.INT16, low=0, high=1),
    Column("flags", Kind.INT16, low=0),
    Column("asn", Kind.INT32, low=0),
    Column("networks", Kind.INT16, low=0, high=sum(NetworkClass)),
)

TABLES: Final = (
    Table(
        name="segments",
        source="ops.segments",
        columns=(
            Column("segment_id", Kind.UUID),
            Column("created_at", Kind.INSTANT),
            Column("first_hit_at", Kind.INSTANT, nullable=True),
            Column("last_hit_at", Kind.INSTANT, nullable=True),
        ),
        numbers=MappingProxyType({"segment_no": "segment_id"}),
        not_kept=MappingProxyType(
            dict.fromkeys(
                (
                    "source",
                    "committed",
                    "hits",
                    "totals",
                    "finished_at",
                    "finished_why",
                    "last_frame_at",
                    "opening",
                    "is_linked",
                ),
                "it is about landing, which is over",
            )
        ),
    ),
    Table(
        name="agents",
        source="ops.agents",
        columns=(
            Column("agent_hash", Kind.UUID),
            Column("user_agent", Kind.TEXT),
            Column("kind", Kind.INT16, low=0, high=max(AgentKind)),
            Column("app", Kind.TEXT),
            Column("device", Kind.TEXT),
            Column("rule", Kind.TEXT),
            Column("os", Kind.TEXT, nullable=True),
            Column("table_version", Kind.TEXT),
            Column("superseded_hash", Kind.UUID, nullable=True),
        ),
        numbers=MappingProxyType({"agent_no": "agent_hash"}),
        not_kept=MappingProxyType({"first_seen_at": "it is when that installation met it"}),
    ),
    Table(
        name="podcasts",
        source="app.podcasts",
        columns=(
            Column("podcast_id", Kind.UUID),
            Column("podcast_guid", Kind.UUID),
            Column("feed_key", Kind.TEXT, nullable=True),
            Column("feed_url", Kind.TEXT, nullable=True),
            Column("title", Kind.TEXT),
            Column("link", Kind.TEXT, nullable=True),
            Column("language", Kind.TEXT, nullable=True),
            Column("guid_declared", Kind.BOOL),
            Column("verified_at", Kind.INSTANT, nullable=True),
            Column("feed_etag", Kind.TEXT, nullable=True),
            Column("feed_last_modified", Kind.TEXT, nullable=True),
            Column("feed_checked_at", Kind.INSTANT, nullable=True),
            Column("feed_error", Kind.TEXT, nullable=True),
            Column("feed_failures", Kind.INT32, low=0),
            Column("next_poll_at", Kind.INSTANT, nullable=True),
            Column("created_at", Kind.INSTANT),
            Column("archived_at", Kind.INSTANT, nullable=True),
            Column("transferred_at", Kind.INSTANT, nullable=True),
        ),
        numbers=MappingProxyType({"podcast_no": "podcast_id"}),
        not_kept=_BOTH,
    ),
    Table(
        name="episodes",
        source="app.episodes",
        columns=(
            Column("episode_id", Kind.UUID),
            Column("podcast_id", Kind.UUID),
            Column("guid", Kind.TEXT),
            Column("guid_from_feed", Kind.BOOL),
            Column("title", Kind.TEXT),
            Column("published_at", Kind.INSTANT, nullable=True),
            Column("duration_s", Kind.INT32, nullable=True, low=0),
            Column("live", Kind.BOOL),
            Column("first_seen_at", Kind.INSTANT),
            Column("removed_at", Kind.INSTANT, nullable=True),
        ),
        numbers=_PLACE,
        not_kept=_BOTH,
    ),
    Table(
        name="enclosures",
        source="app.enclosures",
        columns=(
            Column("episode_id", Kind.UUID),
            Column("enclosure_key", Kind.UUID),
            Column("place", Kind.INT16, low=0),
            Column("kind", Kind.TEXT),
            Column("url", Kind.TEXT),
            Column("hosts", Kind.TEXT_LIST),
            Column("media_type", Kind.TEXT, nullable=True),
            Column("length_bytes", Kind.INT64, nullable=True, low=0),
            Column("first_seen_at", Kind.INSTANT),
            Column("gone_at", Kind.INSTANT, nullable=True),
        ),
        not_kept=MappingProxyType({"tenant_id": _TENANT}),
    ),
    Table(
        name="enclosure_owners",
        source="app.enclosure_owners",
        columns=(
            Column("enclosure_key", Kind.UUID),
            Column("bare_key", Kind.UUID),
            Column("file_name", Kind.TEXT),
            _reference("podcast_id"),
            _reference("episode_id"),
            Column("length_bytes", Kind.INT64, nullable=True),
        ),
        numbers=_PLACE,
        not_kept=MappingProxyType(
            {**_SERIES, "is_playlist": "it follows from the file's name, and else is found when its feed is read"}
        ),
    ),
    Table(
        name="unknown_hosts",
        source="app.unknown_hosts",
        columns=(
            _reference("podcast_id"),
            Column("host", Kind.TEXT),
            Column("first_seen_at", Kind.INSTANT, nullable=True),
            Column("last_seen_at", Kind.INSTANT, nullable=True),
            Column("hits", Kind.INT64, low=0),
            Column("accepted_at", Kind.INSTANT, nullable=True),
        ),
        numbers=MappingProxyType({"podcast_no": "podcast_id"}),
        not_kept=_SERIES,
    ),
    Table(
        name="sponsors",
        source="app.sponsors",
        columns=(
            Column("sponsor_id", Kind.UUID),
            Column("name", Kind.TEXT),
            Column("name_key", Kind.UUID),
            Column("domain", Kind.TEXT, nullable=True),
            Column("category", Kind.TEXT, nullable=True),
            Column("contacts", Kind.JSON_LIST),
            Column("targeting", Kind.JSON),
            Column("version", Kind.INT32, low=1),
            Column("created_at", Kind.INSTANT),
            Column("archived_at", Kind.INSTANT, nullable=True),
        ),
        not_kept=MappingProxyType({"tenant_id": _TENANT}),
    ),
    Table(
        name="links",
        source="app.links",
        columns=(
            Column("link_id", Kind.UUID),
            Column("slug", Kind.TEXT),
            Column("url", Kind.TEXT),
            Column("target", Kind.TEXT),
            Column("utm", Kind.JSON),
            Column("click_id", Kind.BOOL),
            Column("created_at", Kind.INSTANT),
            Column("archived_at", Kind.INSTANT, nullable=True),
            Column("clicks_dropped", Kind.INT64, low=0),
            Column("bots_dropped", Kind.INT64, low=0),
            Column("sponsor_id", Kind.UUID, nullable=True),
        ),
        numbers=MappingProxyType({"link_no": "link_id"}),
        not_kept=_BOTH,
    ),
    Table(
        name="clicks",
        source="app.clicks",
        columns=(
            Column("occurred_at", Kind.INSTANT),
            _reference("link_id"),
            _reference("segment_id"),
            Column("ordinal", Kind.INT32, low=0),
            Column("is_bot", Kind.BOOL),
            Column("click_id", Kind.UUID, nullable=True),
        ),
        numbers=MappingProxyType({"link_no": "link_id", "segment_no": "segment_id"}),
        not_kept=_SERIES,
    ),
    Table(
        name="events",
        source="ts.attribution_events",
        columns=(
            Column("received_at", Kind.INSTANT),
            Column("occurred_at", Kind.INSTANT),
            Column("event_id", Kind.UUID),
            Column("source", Kind.INT16, low=0, high=max(EventSource)),
            Column("type", Kind.TEXT),
            Column("click_id", Kind.UUID, nullable=True),
            Column("promo_code", Kind.TEXT, nullable=True),
            Column("link", Kind.TEXT, nullable=True),
            Column("customer_key", Kind.UUID, nullable=True),
            Column("external_id", Kind.TEXT, nullable=True),
            Column("value_amount", Kind.INT64, nullable=True, low=0),
            Column("currency", Kind.TEXT, nullable=True),
            Column("new_customer", Kind.BOOL, nullable=True),
            Column("page_host", Kind.TEXT, nullable=True),
            Column("page_path", Kind.TEXT, nullable=True),
            Column("referrer_host", Kind.TEXT, nullable=True),
            Column("utm", Kind.JSON, nullable=True),
            Column("properties", Kind.JSON, nullable=True),
            Column("agent_hash", Kind.UUID, nullable=True, is_stored=False),
            Column("asn", Kind.INT32, low=0),
            Column("country", Kind.INT16, low=0),
            Column("networks", Kind.INT16, low=0, high=sum(NetworkClass)),
            Column("is_bot", Kind.BOOL),
        ),
        numbers=MappingProxyType({"agent_no": "agent_hash"}),
        not_kept=_SERIES,
    ),
    Table(
        name="erasures",
        source="app.erasures",
        columns=(
            Column("erasure_id", Kind.UUID),
            Column("kind", Kind.TEXT),
            Column("subject_hash", Kind.BYTES),
            Column("month", Kind.DATE, nullable=True),
            Column("started_at", Kind.INSTANT),
            Column("removed", Kind.JSON),
            Column("finished_at", Kind.INSTANT, nullable=True),
            Column("remaining", Kind.JSON, nullable=True),
            Column("digest", Kind.BYTES, nullable=True),
        ),
        not_kept=_SERIES,
    ),
    Table(
        name="restatements",
        source="app.restatements",
        columns=(
            Column("restatement_id", Kind.UUID),
            Column("first_day", Kind.DATE),
            Column("last_day", Kind.DATE),
            Column("reason", Kind.TEXT),
            Column("origin", Kind.TEXT),
            Column("key_id", Kind.UUID, nullable=True),
            Column("state", Kind.TEXT),
            Column("started_at", Kind.INSTANT),
            Column("finished_at", Kind.INSTANT, nullable=True),
            Column("rules", Kind.TEXT, nullable=True),
        ),
        not_kept=_SERIES,
    ),
    Table(
        name="restatement_days",
        source="app.restatement_days",
        columns=(
            Column("restatement_id", Kind.UUID),
            Column("day", Kind.DATE),
            Column("hits", Kind.INT64, low=0),
            Column("downloads_before", Kind.INT64, low=0),
            Column("downloads_after", Kind.INT64, low=0),
            Column("strict_before", Kind.INT64, low=0),
            Column("strict_after", Kind.INT64, low=0),
        ),
        not_kept=_SERIES,
    ),
    Table(
        name="spikes",
        source="app.spikes",
        columns=(
            Column("spike_id", Kind.UUID),
            _reference("podcast_id"),
            Column("kind", Kind.TEXT),
            Column("begins_at", Kind.INSTANT),
            Column("ends_at", Kind.INSTANT),
            Column("listener_key", Kind.UUID, nullable=True),
            Column("app", Kind.TEXT, nullable=True),
            Column("user_agent", Kind.TEXT, nullable=True),
            Column("asn", Kind.INT32, nullable=True, low=0),
            Column("country", Kind.INT16, nullable=True, low=0),
            Column("usual", Kind.INT32_LIST, low=0),
            Column("hits", Kind.INT64, low=0),
            Column("downloads", Kind.INT64, low=0),
            Column("episodes", Kind.INT32, low=0),
            Column("found_at", Kind.INSTANT),
            Column("state", Kind.TEXT),
            Column("reason", Kind.TEXT, nullable=True),
            Column("origin", Kind.TEXT, nullable=True),
            Column("key_id", Kind.UUID, nullable=True),
            Column("decided_at", Kind.INSTANT, nullable=True),
            Column("is_due", Kind.BOOL),
            Column("applied_at", Kind.INSTANT, nullable=True),
            Column("refusal", Kind.TEXT, nullable=True),
        ),
        numbers=MappingProxyType({"podcast_no": "podcast_id"}),
        not_kept=_SERIES,
    ),
    Table(
        name="days",
        source="ops.days",
        columns=(
            Column("day", Kind.DATE),
            Column("final_at", Kind.INSTANT, nullable=True),
            Column("rekeyed", Kind.BOOL),
            Column("hits_dropped_at", Kind.INSTANT, nullable=True),
            Column("downloads_dropped_at", Kind.INSTANT, nullable=True),
            Column("hits_incomplete", Kind.BOOL),
            Column("restatement_due", Kind.BOOL),
            Column("profile", Kind.JSON, nullable=True),
        ),
        not_kept=MappingProxyType({"tenant_no": _TENANT, "generation": "it tells ingest that a day was rewritten"}),
    ),
    Table(
        name="day_sources",
        source="ops.day_sources",
        columns=(Column("day", Kind.DATE), _reference("podcast_id"), Column("source", Kind.INT16, low=1, high=2)),
        numbers=MappingProxyType({"podcast_no": "podcast_id"}),
        not_kept=_SERIES,
    ),
    Table(
        name="hits",
        source="ts.listener_events",
        columns=(
            Column("occurred_at", Kind.INSTANT),
            _reference("segment_id"),
            Column("ordinal", Kind.INT32, low=0),
            _reference("podcast_id", nullable=True),
            _reference("episode_id", nullable=True),
            Column("listener_key", Kind.UUID),
            *_REQUEST,
            *_RANGE,
            Column("verdict", Kind.INT16, low=NO_VERDICT, high=max(Verdict)),
            Column("evidence", Kind.INT16, low=0, high=max(Evidence)),
            Column("rules", Kind.INT16, low=0),
        ),
        numbers=MappingProxyType({**_PLACE, **_REQUEST_NUMBERS}),
        not_kept=_SERIES,
        day="occurred_at",
    ),
    Table(
        name="pending_hits",
        source="ops.pending_hits",
        columns=(
            Column("occurred_at", Kind.INSTANT),
            _reference("segment_id"),
            Column("ordinal", Kind.INT32, low=0),
            _reference("podcast_id"),
            Column("enclosure_key", Kind.UUID),
            Column("bare_key", Kind.UUID),
            Column("file_name", Kind.TEXT),
            Column("target", Kind.TEXT),
            Column("k0", Kind.UUID),
            *_REQUEST,
            *_RANGE,
        ),
        numbers=MappingProxyType({"podcast_no": "podcast_id", **_REQUEST_NUMBERS}),
        not_kept=_SERIES,
    ),
    Table(
        name="downloads",
        source="ts.downloads",
        columns=(
            Column("day", Kind.DATE),
            _reference("podcast_id"),
            _reference("episode_id"),
            Column("listener_key", Kind.UUID),
            Column("occurred_at", Kind.INSTANT),
            _reference("segment_id"),
            Column("ordinal", Kind.INT32, low=0),
            *_REQUEST,
            Column("evidence", Kind.INT16, low=0, high=max(Evidence)),
        ),
        numbers=MappingProxyType({**_PLACE, **_REQUEST_NUMBERS}),
        not_kept=_SERIES,
        day="day",
    ),
    Table(
        name="metrics_daily",
        source="app.metrics_daily",
        columns=(
            Column("day", Kind.DATE),
            _reference("podcast_id"),
            _reference("episode_id"),
            Column("dimension", Kind.TEXT),
            Column("key", Kind.TEXT),
            Column("downloads", Kind.INT32, low=0),
            Column("downloads_strict", Kind.INT32, low=0),
            Column("quarters", Kind.INT32_LIST, low=0),
            Column("quarters_strict", Kind.INT32_LIST, low=0),
            Column("refreshed_at", Kind.INSTANT),
        ),
        numbers=_PLACE,
        not_kept=_SERIES,
        day="day",
    ),
    Table(
        name="listener_months",
        source="app.listener_months",
        columns=(
            Column("month", Kind.DATE),
            _reference("podcast_id"),
            _reference("episode_id", nullable=True),
            Column("days", Kind.INT16_LIST, low=1, high=31),
            Column("former", Kind.INT16_LIST, low=0, high=30),
            Column("listeners", Kind.INT32_LIST, low=0),
            Column("counted_at", Kind.INSTANT),
        ),
        numbers=_PLACE,
        not_kept=MappingProxyType({"tenant_no": _TENANT, "took": "it is how fast that machine counted"}),
    ),
    Table(
        name="dirty_marks",
        source="ops.dirty_marks",
        columns=(Column("day", Kind.DATE), _reference("podcast_id"), _reference("episode_id")),
        numbers=_PLACE,
        not_kept=MappingProxyType({"tenant_no": _TENANT, "mark_no": "marks of a day are one"}),
    ),
    Table(
        name="listener_marks",
        source="ops.listener_marks",
        columns=(Column("month", Kind.DATE), _reference("podcast_id")),
        numbers=MappingProxyType({"podcast_no": "podcast_id"}),
        not_kept=MappingProxyType({"tenant_no": _TENANT, "mark_no": "marks of a month are one"}),
    ),
)
"""In the order in which they are read back: what is named comes before what names it."""

LEFT_OUT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "app.tenants": "what is the tenant's own setting is in the manifest",
        "app.api_keys": "credentials stay where they are",
        "app.sessions": "credentials stay where they are",
        "app.audit_log": "the record of an installation stays with it; `GET /audit/export` gives it",
        "app.audit_seals": "the record of an installation stays with it",
        "app.idempotency_keys": "it is kept for a day, for requests to this installation",
        "app.memberships": "people belong to an installation, and are invited anew elsewhere",
        "app.user_sessions": "credentials stay where they are",
        "app.outbox": "mail that waits is sent from here, once",
        "app.tenant_settings": "how reports are shown is set where it is imported",
        "app.tenant_quotas": "what a tenant may use is decided where it is imported",
        "app.usage_counters": "what is there is counted on import",
        "app.roles": "who may do what is decided where it is imported",
        "app.invitations": "who may come in is decided where it is imported",
        "app.podcast_claims": "a claim is between tenants of one installation",
        "app.podcast_transfers": "a transfer is between tenants of one installation",
        "app.podcast_daily": "it is made of metrics_daily, on import as well",
        "app.podcast_months": "it is made of metrics_daily, on import as well",
        "ops.event_ids": "import makes them of the events",
        "ops.event_secrets": "secrets stay where they are: customers are keyed anew elsewhere",
        "ops.listener_secrets": "secrets stay where they are, so that they can be destroyed",
        "ops.dead_letters": "it is for whoever runs the installation, and kept for 30 days; none of it has landed",
        "app.erasure_requests": "what is to be erased goes here, and is not taken elsewhere first",
        "ops.sum_marks": "import sums everything up",
        "ops.figure_versions": "it tells readers of this very ledger what they have seen",
    }
)
"""Tables with rows of tenants that are in no archive, and why."""
