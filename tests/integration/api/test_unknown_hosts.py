"""Unknown hosts are seen by whoever owns the podcast, and known to trackers once they are accepted."""

from __future__ import annotations

import asyncio
import datetime as dt
from uuid import UUID

import pytest

from analytics_core.db.podcasts import CATALOGUE_CHANNEL
from analytics_core.db.unknown_hosts import note_sightings
from analytics_core.hosts import MAX_UNKNOWN_HOSTS, HostSighting
from analytics_core.registry import read_registry
from analytics_core.settings import HostPolicyMode, Settings
from ingest.registry_writer import RegistryWriter
from prefix_redirect.host_policy import HostPolicy, Ruling
from prefix_redirect.targets import Target, parse_target
from tests.integration.api.ledger import Api, Ledger, codes, problem

pytestmark = pytest.mark.anyio

AT = dt.datetime(2026, 11, 20, 10, tzinfo=dt.UTC)


async def see(ledger: Ledger, podcast_id: str, *hosts: str, hits: int = 1) -> None:
    """Count hosts as ingest does."""
    row = await ledger.ingest.fetchrow(
        "select tenant_no, podcast_no from app.podcasts where podcast_id = $1", UUID(podcast_id)
    )
    assert row is not None
    await note_sightings(
        ledger.ingest, [HostSighting(row["tenant_no"], row["podcast_no"], host, AT, AT, hits) for host in hosts]
    )


async def rule(ledger: Ledger, settings: Settings, target: bytes) -> Ruling:
    """Write the snapshot as ingest does, and judge a player's target as a strict tracker does."""
    await RegistryWriter(settings.tracker).write(ledger.ingest)
    policy = HostPolicy(read_registry(settings.tracker.registry_path), mode=HostPolicyMode.KNOWN)
    parsed = parse_target(target)
    assert isinstance(parsed, Target)
    return policy.rule(parsed, navigation=False)


async def test_an_accepted_host_is_known_to_trackers(api: Api, ledger: Ledger, settings: Settings) -> None:
    podcast = await api.add_podcast()
    path = f"/podcasts/{podcast['podcast_id']}/unknown-hosts"
    assert await api.data(path) == {"data": [], "next_cursor": None}
    await see(ledger, podcast["podcast_id"], "new.example.net", hits=3)
    await see(ledger, podcast["podcast_id"], "rare.example.net")
    seen = {"first_seen_at": "2026-11-20T10:00:00Z", "last_seen_at": "2026-11-20T10:00:00Z", "accepted_at": None}
    assert (await api.data(path))["data"] == [
        {"host": "new.example.net", "hits": 3, **seen},
        {"host": "rare.example.net", "hits": 1, **seen},
    ]
    assert await rule(ledger, settings, b"new.example.net/x.mp3") is Ruling.UNKNOWN_HOST
    heard = asyncio.Event()
    await ledger.ingest.add_listener(CATALOGUE_CHANNEL, lambda *_: heard.set())
    answer = await api.request("POST", f"{path}/NEW.example.net./accept")
    assert answer.status_code == 200, answer.text
    accepted = {"host": "new.example.net", "hits": 3, **seen, "accepted_at": "2026-11-24T12:00:00Z"}
    assert answer.json() == accepted
    # Ingest, which writes the snapshot, is told.
    async with asyncio.timeout(30):
        await heard.wait()
    assert await rule(ledger, settings, b"new.example.net/x.mp3") is Ruling.REDIRECT
    assert await rule(ledger, settings, b"rare.example.net/x.mp3") is Ruling.UNKNOWN_HOST
    assert (await api.data(path))["data"][1] == accepted
    # Once more changes nothing.
    assert (await api.request("POST", f"{path}/new.example.net/accept")).json() == accepted


async def test_a_host_that_nobody_asked_for_yet_can_be_accepted(api: Api, ledger: Ledger, settings: Settings) -> None:
    podcast = await api.add_podcast()
    path = f"/podcasts/{podcast['podcast_id']}/unknown-hosts"
    answer = await api.request("POST", f"{path}/next.example.net/accept")
    assert answer.json() == {
        "host": "next.example.net",
        "first_seen_at": None,
        "last_seen_at": None,
        "hits": 0,
        "accepted_at": "2026-11-24T12:00:00Z",
    }
    assert await rule(ledger, settings, b"next.example.net/x.mp3") is Ruling.REDIRECT
    # Seen afterwards, by an ingest that had not heard of it yet, it stays accepted.
    await see(ledger, podcast["podcast_id"], "next.example.net")
    (shown,) = (await api.data(path))["data"]
    assert (shown["hits"], shown["accepted_at"]) == (1, "2026-11-24T12:00:00Z")


async def test_what_a_feed_registers_meanwhile_is_not_listed(api: Api, ledger: Ledger) -> None:
    podcast = await api.add_podcast()
    await see(ledger, podcast["podcast_id"], "cdn2.example.com", "new.example.net")
    await api.add_podcast(2)
    listed = await api.data(f"/podcasts/{podcast['podcast_id']}/unknown-hosts")
    assert [row["host"] for row in listed["data"]] == ["new.example.net"]


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("8.8.8.8", "host_not_public"),
        ("127.0.0.1", "host_not_public"),
        ("[2606:4700::1111]", "host_not_public"),
        ("localhost", "host_not_public"),
        ("nas.local", "host_not_public"),
        ("other", "host_not_public"),
        ("pod.example.com", "host_not_public"),
        ("a..b", "host_invalid"),
        ("0x7f.1", "host_invalid"),
        ("%C3%A9.example.com", "host_invalid"),
    ],
)
async def test_no_address_and_no_reserved_name_is_accepted(
    api: Api, ledger: Ledger, settings: Settings, host: str, code: str
) -> None:
    podcast = await api.add_podcast()
    answer = await api.request("POST", f"/podcasts/{podcast['podcast_id']}/unknown-hosts/{host}/accept")
    assert codes(answer) == {("host", code)}
    assert await ledger.ingest.fetchval("select count(*) from app.unknown_hosts") == 0


async def test_another_tenants_hosts_are_not_there(api: Api, ledger: Ledger) -> None:
    other = await ledger.make_key("other")
    podcast = await api.add_podcast()
    await see(ledger, podcast["podcast_id"], "new.example.net")
    path = f"/podcasts/{podcast['podcast_id']}/unknown-hosts"
    problem(await api.get(path, key=other), 404, "not_found")
    problem(await api.request("POST", f"{path}/new.example.net/accept", key=other), 404, "not_found")
    assert await ledger.ingest.fetchval("select count(*) from app.unknown_hosts where accepted_at is not null") == 0


async def test_a_podcast_accepts_so_many_hosts_and_no_more(api: Api, ledger: Ledger) -> None:
    podcast = await api.add_podcast()
    path = f"/podcasts/{podcast['podcast_id']}/unknown-hosts"
    await see(ledger, podcast["podcast_id"], *(f"h{number}.example.net" for number in range(MAX_UNKNOWN_HOSTS)))
    await ledger.ingest.execute("update app.unknown_hosts set accepted_at = now()")
    problem(await api.request("POST", f"{path}/one-more.example.net/accept"), 409, "too_many_hosts")
    assert (await api.request("POST", f"{path}/h7.example.net/accept")).status_code == 200
