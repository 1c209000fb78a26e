"""What has to be done from time to time, once for all ingest processes: the kinds of jobs in the queue."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Final

from analytics_core.clock import Clock
from analytics_core.db.dead_letters import drop_dead_letters
from analytics_core.db.events import ensure_event_partitions
from analytics_core.db.hits import ensure_partitions
from analytics_core.db.idempotency import drop_answers
from analytics_core.db.invitations import drop_invitations
from analytics_core.db.ledger import drop_entries
from analytics_core.db.outbox import drop_mail
from analytics_core.db.pool import Connection, Pool
from analytics_core.db.reports import drop_reports
from analytics_core.db.users import DELETED_FOR, erase_deleted
from analytics_core.settings import Settings
from ingest.attribution import attribute_runs
from ingest.campaigns import follow_calendar
from ingest.closings import erase_closed
from ingest.dictionaries import AgentNumbers
from ingest.erasures import work_off
from ingest.finality import finalise_days
from ingest.flight_alerts import tell_of_flights
from ingest.job_queue import JobKind
from ingest.outbox import KEEP as KEEP_MAIL
from ingest.pending import release_aged
from ingest.reach import count_due_reach
from ingest.reports import make_reports
from ingest.restatements import restate_due
from ingest.retention import drop_old
from ingest.secrets import SecretStore, destroy_old_secrets
from ingest.spike_guard import guard
from ingest.spikes import apply_due

__all__ = ("DAYS_AHEAD", "Chores")

_EVERY: Final = dt.timedelta(minutes=10)
_PARTITIONS_EVERY: Final = dt.timedelta(hours=1)
_RETENTION_EVERY: Final = dt.timedelta(hours=1)
# Whoever asks for one makes the job due; in between it takes up what was stopped.
_ERASURES_EVERY: Final = dt.timedelta(minutes=1)
# Likewise.
_ATTRIBUTION_EVERY: Final = dt.timedelta(minutes=1)
_REPORTS_EVERY: Final = dt.timedelta(minutes=1)
_CLOSINGS_EVERY: Final = dt.timedelta(minutes=10)
# States by the day need no more, those by the quarter hour no less.
_CAMPAIGNS_EVERY: Final = dt.timedelta(minutes=5)
# Whoever decides about one makes the job due.
_SPIKES_EVERY: Final = dt.timedelta(minutes=1)
# Whoever is told is told once a day at most.
_ALERTS_EVERY: Final = dt.timedelta(hours=1)
DAYS_AHEAD: Final = 3
"""Days after today that have their partitions before a hit or an event needs them."""

_AGENTS_A_STEP: Final = 1_000
_AGENT_STEPS: Final = 100
_KEEP_DEAD_LETTERS: Final = dt.timedelta(days=30)
_KEEP_ENTRIES: Final = dt.timedelta(days=400)


class Chores:
    """The jobs of ingest, each one transaction or several, safe to be done twice.

    Args:
        settings: How long things are kept.
        pool: As ingest.
        clock: The time.
        secrets: By which hits that waited are keyed.
        agents: Agents by number, and the table in force.
    """

    def __init__(
        self, settings: Settings, pool: Pool, *, clock: Clock, secrets: SecretStore, agents: AgentNumbers
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._clock = clock
        self._secrets = secrets
        self._agents = agents

    def kinds(self) -> list[JobKind]:
        """List what is done from time to time, once for all ingest processes, by way of the queue."""
        return [
            JobKind("partitions", _PARTITIONS_EVERY, self._make_partitions),
            JobKind("retention", _RETENTION_EVERY, self._drop_old),
            JobKind("campaigns", _CAMPAIGNS_EVERY, self._follow_calendar),
            JobKind("flights", _ALERTS_EVERY, self._tell_of_flights),
            JobKind("secrets", _EVERY, self._destroy_secrets),
            JobKind("pending", _EVERY, self._release_aged),
            JobKind("finality", _EVERY, self._finalise_days),
            JobKind("agents", _EVERY, self._classify_again),
            JobKind("restatements", _EVERY, self._restate_due),
            JobKind("books", _EVERY, self._drop_old_books),
            JobKind("idempotency", _EVERY, self._drop_answers),
            JobKind("spikes", _SPIKES_EVERY, self._guard),
            JobKind("people", _EVERY, self._erase_people),
            JobKind("reach", _EVERY, self._count_reach),
        ]

    def erasure_kinds(self) -> list[JobKind]:
        """List what may take hours, which a worker of its own does so that the others do not wait for it."""
        return [
            JobKind("erasures", _ERASURES_EVERY, self._erase),
            JobKind("closings", _CLOSINGS_EVERY, self._erase_closed),
        ]

    def attribution_kinds(self) -> list[JobKind]:
        """List what somebody waits for who asked for figures, which nothing else is to hold up, nor it anything."""
        return [JobKind("attribution", _ATTRIBUTION_EVERY, self._attribute)]

    async def _attribute(self, conn: Connection) -> Mapping[str, int]:
        return await attribute_runs(conn, self._pool, clock=self._clock)

    def report_kinds(self) -> list[JobKind]:
        """List what people wait for, and may take minutes: for a worker of its own."""
        return [JobKind("reports", _REPORTS_EVERY, self._make_reports)]

    async def _make_reports(self, conn: Connection) -> Mapping[str, int]:
        return await make_reports(conn, self._settings.require_database(), clock=self._clock)

    async def _erase(self, conn: Connection) -> Mapping[str, int]:
        return await work_off(conn, self._pool, now=self._clock.now())

    async def _erase_closed(self, conn: Connection) -> Mapping[str, int]:
        database = self._settings.require_database()
        return await erase_closed(conn, self._pool, database, now=self._clock.now())

    async def _make_partitions(self, conn: Connection) -> Mapping[str, int]:
        """Have partitions of today and the days ahead, so that no batch has to wait for one to be made."""
        today = self._clock.now().astimezone(dt.UTC).date()
        days = [today + dt.timedelta(days=ahead) for ahead in range(DAYS_AHEAD + 1)]
        # Each by itself: whoever lands hits waits no longer than for theirs.
        for ensure in (ensure_partitions, ensure_event_partitions):
            async with conn.transaction():
                await ensure(conn, days)
        return {"days": len(days)}

    async def _drop_old(self, conn: Connection) -> Mapping[str, int]:
        return await drop_old(conn, now=self._clock.now(), hits_months=self._settings.ingest.hits_months)

    async def _follow_calendar(self, conn: Connection) -> Mapping[str, int]:
        return await follow_calendar(conn, self._pool, now=self._clock.now())

    async def _tell_of_flights(self, conn: Connection) -> Mapping[str, int]:
        """Write to who sells about flights that have fallen behind, or ended short."""
        return await tell_of_flights(
            conn, self._pool, now=self._clock.now(), public_url=self._settings.people.public_url
        )

    async def _destroy_secrets(self, conn: Connection) -> Mapping[str, int]:
        return {"destroyed": await destroy_old_secrets(conn, now=self._clock.now())}

    async def _release_aged(self, conn: Connection) -> Mapping[str, int]:
        return {"released": await release_aged(conn, self._secrets, now=self._clock.now())}

    async def _finalise_days(self, conn: Connection) -> Mapping[str, int]:
        after_days = self._settings.ingest.final_after_days
        return {"final": await finalise_days(conn, now=self._clock.now(), after_days=after_days)}

    async def _classify_again(self, conn: Connection) -> Mapping[str, int]:
        """Have stored agents classified by the table in force: so many a step, so many steps a run."""
        looked_at = changed = 0
        for _ in range(_AGENT_STEPS):
            step, other = await self._agents.bring_up_to_date(conn, limit=_AGENTS_A_STEP)
            looked_at += step
            changed += other
            if not step:
                break
        return {"agents": looked_at, "changed": changed}

    async def _restate_due(self, conn: Connection) -> Mapping[str, int]:
        return await restate_due(conn, clock=self._clock)

    async def _guard(self, conn: Connection) -> Mapping[str, int]:
        """Carry out what was decided about spikes, then look for new ones."""
        decided = await apply_due(conn, clock=self._clock)
        return {**decided, **await guard(conn, clock=self._clock)}

    async def _drop_old_books(self, conn: Connection) -> Mapping[str, int]:
        now = self._clock.now()
        return {
            "dead_letters": await drop_dead_letters(conn, before=now - _KEEP_DEAD_LETTERS),
            "entries": await drop_entries(conn, before=now - _KEEP_ENTRIES),
            "mails": await drop_mail(conn, before=now - KEEP_MAIL),
            "invitations": await drop_invitations(conn, before=now - KEEP_MAIL),
            "reports": await drop_reports(conn, now=now),
        }

    async def _erase_people(self, conn: Connection) -> Mapping[str, int]:
        """Erase who had themselves deleted a while ago."""
        return {"erased": await erase_deleted(conn, before=self._clock.now() - DELETED_FOR)}

    async def _count_reach(self, conn: Connection) -> Mapping[str, int]:
        """Count the listeners of sponsors' months whose impressions changed."""
        after_days = self._settings.ingest.final_after_days
        return {"months": await count_due_reach(conn, clock=self._clock, final_after_days=after_days)}

    async def _drop_answers(self, conn: Connection) -> Mapping[str, int]:
        return {"answers": await drop_answers(conn, now=self._clock.now())}
