"""Numbers for agents and terms: each text once, and no more new ones a day than there is room for."""

from __future__ import annotations

import datetime as dt

import pytest

from analytics_core.user_agents import AgentKind
from ingest.dictionaries import AgentNumbers, TermNumbers
from tests.factories import OVERCAST
from tests.ledgers import Ledger

pytestmark = pytest.mark.anyio


async def test_an_agent_has_one_number_wherever_it_is_asked_for(ledger: Ledger) -> None:
    agents = [OVERCAST, b"", b"Googlebot/2.1", b"\xff\x00odd"]
    first = await AgentNumbers(ledger.clock).number(ledger.conn, agents)
    assert [agent.kind for agent in first] == [AgentKind.APP, AgentKind.UNKNOWN, AgentKind.BOT, AgentKind.UNKNOWN]
    assert len({agent.agent_no for agent in first}) == 4
    numbers = AgentNumbers(ledger.clock)
    for _ in range(2):
        assert await numbers.number(ledger.conn, agents[::-1]) == first[::-1]
    rows = await ledger.conn.fetch("select user_agent, rule from ops.agents order by agent_no")
    assert sorted(row["user_agent"] for row in rows) == ["", "Googlebot/2.1", OVERCAST.decode(), "\ufffd\ufffdodd"]


async def test_new_agents_beyond_a_days_bound_keep_their_class_but_not_their_text(ledger: Ledger) -> None:
    numbers = AgentNumbers(ledger.clock, limit=3)
    await ledger.conn.execute("update ops.agents set first_seen_at = $1", ledger.clock.now())
    many = [b"thing-%d/1" % number for number in range(10)]
    found = await numbers.number(ledger.conn, [*many, b"Overcast/9 (extra)"])
    assert len({agent.agent_no for agent in found}) == 3 + 2
    assert found[10].kind == AgentKind.APP
    apps = await ledger.conn.fetch("select user_agent, app from ops.agents where user_agent = '(other)' order by app")
    assert [row["app"] for row in apps] == ["", "Overcast"]
    again = AgentNumbers(ledger.clock, limit=3)
    await ledger.conn.execute("update ops.agents set first_seen_at = $1", ledger.clock.now())
    assert (await again.number(ledger.conn, [b"one-more/1"]))[0] == found[9]
    ledger.clock.advance(dt.timedelta(days=1))
    tomorrow = await again.number(ledger.conn, [b"next-day/1"])
    assert tomorrow[0].agent_no not in {agent.agent_no for agent in found}


async def test_terms_are_numbered_cut_and_bounded(ledger: Ledger) -> None:
    numbers = TermNumbers("referrer", ledger.clock, limit=2)
    found = await numbers.number(ledger.conn, ["", "a.example", "a.example", "b.example"])
    assert found[""] == 0
    assert len(set(found.values())) == 3
    more = await numbers.number(ledger.conn, ["a.example", "c.example", "d.example"])
    assert more["a.example"] == found["a.example"]
    assert more["c.example"] == more["d.example"] not in found.values()
    assert await TermNumbers("referrer", ledger.clock).number(ledger.conn, ["other"]) == {"other": more["c.example"]}
    other_kind = await TermNumbers("feed_app", ledger.clock).number(ledger.conn, ["a.example", "x" * 300])
    assert other_kind["a.example"] not in found.values()
    assert await ledger.conn.fetchval("select max(length(term)) from ops.terms") == 255
