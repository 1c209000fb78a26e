"""The doctor finds what is wrong with real databases, a real Redis, real ports and names, and says how to mend it."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import pytest

from analytics_core.agent_lists import LIST_FILES
from analytics_core.db.pool import connect
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings, RedisSettings, Secret, load_settings
from analytics_core.spool import FrameKind, SegmentHeader, Totals, encode_header, encode_totals_frame, segment_name
from castledger_server.cli import main
from castledger_server.data_dir import RunningUp, write_running_up
from castledger_server.doctor import Finding, Level, examine
from castledger_server.doctor_machine import look_at_ports
from castledger_server.doctor_services import look_at_public_name, look_at_redis
from castledger_server.doctor_settings import unknown_variables
from tests.address_databases import write_database
from tests.days import find_today
from tests.event_factories import make_event, write_event_segment
from tests.redis_server import PASSWORD, run_redis
from tests.trackers import TrackerProcess

FREE = {
    "TRACKER_PORT": "0",
    "COLLECTOR_PORT": "0",
    "CASTLEDGER_API_PORT": "0",
    "CASTLEDGER_ADMIN_PORTS": "tracker=0,api=0,ingest=0,collector=0",
}
NOWHERE = "postgresql://nobody:x@127.0.0.1:1/none"


def said(findings: Sequence[Finding], what: str) -> list[tuple[Level, str]]:
    return [(finding.level, finding.text) for finding in findings if finding.what == what]


def levels(findings: Sequence[Finding], what: str) -> list[Level]:
    return [level for level, _ in said(findings, what)]


def look(data_dir: Path, **environ: str) -> list[Finding]:
    return list(examine(FREE | environ, data_dir=data_dir))


def running(**changes: Any) -> RunningUp:
    values: dict[str, Any] = {
        "pid": os.getpid(),
        "database_url": NOWHERE,
        "answers": {},
        "admin_urls": {},
        "children": {},
    }
    return RunningUp(**(values | changes))


def test_every_fault_of_the_settings_is_listed() -> None:
    findings = list(examine({"TRACKER_PORT": "x", "CASTLEDGER_LOG_LEVEL": "loud", "REDIS_PORT": "6379"}))
    assert [finding.level for finding in findings] == [Level.FAIL] * 3
    for name in ("TRACKER_PORT", "CASTLEDGER_LOG_LEVEL", "REDIS_HOST"):
        assert any(name in finding.text for finding in findings)


def test_a_misspelt_variable_is_told_with_what_is_meant(tmp_path: Path) -> None:
    found = said(look(tmp_path, TRACKER_PUBLIC_ULR="x", POSTGRES_DB="y", CASTLEDGER_API_KEY="z"), "settings")
    warned = [text for level, text in found if level is Level.WARN]
    assert any("TRACKER_PUBLIC_ULR" in text and "is TRACKER_PUBLIC_URL meant?" in text for text in warned)
    assert any("POSTGRES_DB" in text and "is POSTGRES_DATABASE meant?" in text for text in warned)
    assert not any("CASTLEDGER_API_KEY" in text for text in warned)
    assert unknown_variables({"CASTLEDGER_TEST_DATA": "x", "PGHOST": "y", "TRACKERS": "z"}) == {}


def test_contradictory_addresses_are_told_and_the_url_wins(tmp_path: Path) -> None:
    found = said(look(tmp_path, DATABASE_URL=NOWHERE, POSTGRES_HOST="other"), "settings")
    assert (Level.WARN, "DATABASE_URL wins over POSTGRES_HOST, which say otherwise") in found


@pytest.mark.parametrize(
    ("environ", "level"),
    [
        ({"TRACKER_PUBLIC_URL": ""}, Level.WARN),
        ({"TRACKER_PUBLIC_URL": "http://pod.invalid"}, Level.WARN),
        ({"TRACKER_PUBLIC_URL": "https://pod.invalid"}, Level.WARN),
        ({"TRACKER_PUBLIC_URL": "https://pod.invalid", "TRACKER_TRUSTED_PROXIES": "127.0.0.1/32"}, None),
        ({"TRACKER_PUBLIC_URL": "https://pod.invalid", "TRACKER_PROXY_PROTOCOL": "true"}, None),
        ({"TRACKER_PUBLIC_URL": "http://127.0.0.1:1"}, None),
    ],
)
def test_a_name_that_players_cannot_use_or_that_hides_listeners_is_told(
    tmp_path: Path, environ: dict[str, str], level: Level | None
) -> None:
    found = levels(look(tmp_path, DATABASE_URL=NOWHERE, **environ), "settings")
    assert found == [Level.OK, *([level] if level else [])]


@pytest.mark.parametrize(
    ("environ", "level"),
    [
        ({"DATABASE_URL": "postgresql://castledger:castledger@127.0.0.1:1/c"}, Level.FAIL),
        ({"DATABASE_URL": "postgresql://me:ME@127.0.0.1:1/c"}, None),
        ({"DATABASE_URL": "postgresql://me:PostGres@127.0.0.1:1/c"}, Level.FAIL),
        ({"POSTGRES_HOST": "db.invalid", "POSTGRES_PASSWORD": "shortone"}, Level.WARN),
        ({"POSTGRES_HOST": "db.invalid"}, Level.WARN),
        ({"POSTGRES_HOST": "db.invalid", "POSTGRES_PASSWORD": "q8Xw2-vT19-zz"}, None),
        ({"POSTGRES_HOST": "/run/postgresql"}, None),
        ({"DATABASE_URL": NOWHERE, "REDIS_URL": "redis://:redis@127.0.0.1:1"}, Level.FAIL),
        ({"DATABASE_URL": NOWHERE, "CASTLEDGER_API_KEY": "cl_live_cut"}, Level.FAIL),
    ],
)
def test_secrets_that_anyone_would_try_are_told_and_never_shown(
    tmp_path: Path, environ: dict[str, str], level: Level | None
) -> None:
    found = look(tmp_path, **environ)
    assert levels(found, "secrets") == ([level] if level else [])
    assert not any(secret in text for secret in ("PostGres", "shortone", "q8Xw2") for text in map(str, found))


def test_a_key_that_others_can_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "api_key").write_text("x")
    (tmp_path / "api_key").chmod(0o644)
    assert levels(look(tmp_path, DATABASE_URL=NOWHERE), "secrets") == [Level.FAIL]
    (tmp_path / "api_key").chmod(0o600)
    assert levels(look(tmp_path, DATABASE_URL=NOWHERE), "secrets") == []


def test_a_healthy_database_is_said_to_be_so(database: DatabaseSettings, tmp_path: Path) -> None:
    found = look(tmp_path, DATABASE_URL=str(database.url))
    for what in ("database", "clock", "storage", "migrations", "schema", "sums"):
        assert levels(found, what) == [Level.OK], said(found, what)
    assert said(found, "storage") == [(Level.OK, f"{database.storage.value} branch")]


def test_a_schema_that_somebody_changed_is_told_by_name(database: DatabaseSettings, tmp_path: Path) -> None:
    async def change() -> None:
        conn = await asyncpg.connect(str(database.url))
        await conn.execute("drop index app.podcasts_due; create table app.mine (x integer)")
        await conn.close()

    asyncio.run(change())
    found = said(look(tmp_path, DATABASE_URL=str(database.url)), "schema")
    assert any(level is Level.FAIL and "index app.podcasts_due: missing" in text for level, text in found)
    assert any(level is Level.WARN and "table app.mine is not ours" in text for level, text in found)


def test_a_sum_that_is_not_what_its_rollups_say_is_told(database: DatabaseSettings, tmp_path: Path) -> None:
    async def change() -> None:
        conn = await connect(database, Role.INGEST, application_name="test")
        await conn.execute(
            "insert into app.podcast_daily (tenant_no, podcast_no, day, dimension, key, downloads, downloads_strict,"
            " running, running_strict) select 1, 7, now() at time zone 'UTC', 'app', 'Overcast', 3, 2,"
            " array_fill(3, array[96]), array_fill(2, array[96])"
        )
        await conn.close()

    asyncio.run(change())
    [(level, text)] = said(look(tmp_path, DATABASE_URL=str(database.url)), "sums")
    assert level is Level.FAIL
    assert "podcast 7, " in text
    assert "app Overcast: 3 downloads (2 strict) are kept, 0 (0) are counted" in text


def test_hits_that_could_not_land_and_damage_are_told(database: DatabaseSettings, tmp_path: Path) -> None:
    (ok,) = said(look(tmp_path, DATABASE_URL=str(database.url)), "losses")
    assert ok[0] is Level.OK

    async def lose() -> None:
        conn = await asyncpg.connect(str(database.url))
        await conn.execute(
            """insert into ops.dead_letters (segment_no, ordinal, occurred_at, step, reason, message, target, agent)
            values (1, 1, now(), 'land', '22003', '', '', '');
            insert into ops.spool_faults (file, start_offset, end_offset, reason, lost_hits)
            values ('000-tracker', 68, 99, 'x', 7), ('000-tracker', 120, 121, 'x', null)"""
        )
        await conn.close()

    asyncio.run(lose())
    (_, letters), (level, damage) = said(look(tmp_path, DATABASE_URL=str(database.url)), "losses")
    assert letters.startswith("1 hits could not land")
    assert level is Level.WARN
    assert "2 places" in damage
    assert "7 hits are known to be missing; the last: 000-tracker at offset 120" in damage


def test_floods_that_nobody_has_decided_about_are_counted(database: DatabaseSettings, tmp_path: Path) -> None:
    async def flood() -> None:
        conn = await connect(database, Role.INGEST, application_name="test")
        await conn.execute(
            "insert into app.spikes (tenant_no, spike_id, podcast_no, kind, begins_at, ends_at, asn, usual, hits,"
            " downloads, episodes, found_at) values (1, gen_random_uuid(), 1, 'network', '2026-11-02T10:00Z',"
            " '2026-11-02T11:00Z', 64500, '{0}', 1, 1, 1, now())"
        )
        await conn.close()

    (ok,) = said(look(tmp_path, DATABASE_URL=str(database.url)), "spikes")
    assert ok == (Level.OK, "none waits for somebody to decide")
    asyncio.run(flood())
    ((level, text),) = said(look(tmp_path, DATABASE_URL=str(database.url)), "spikes")
    assert (level, text.split(";")[0]) == (Level.WARN, "1 wait for somebody to decide")


def test_a_ledger_that_does_not_balance_is_told(database: DatabaseSettings, tmp_path: Path) -> None:
    async def enter(what: str, hits: int) -> None:
        conn = await asyncpg.connect(str(database.url))
        await conn.execute("insert into ops.ledger_minutes values (now(), 'tracker-0', $1, $2)", what, hits)
        await conn.close()

    asyncio.run(enter("answered", 9))
    assert levels(look(tmp_path, DATABASE_URL=str(database.url)), "ledger") == [Level.FAIL]
    asyncio.run(enter("eligible", 7))
    asyncio.run(enter("lost:flood", 2))
    ((level, text),) = said(look(tmp_path, DATABASE_URL=str(database.url)), "ledger")
    assert (level, text) == (Level.OK, "balances: 9 answers in 30 days, 2 of them lost")


def test_a_database_that_was_never_migrated_waits(empty_database: DatabaseSettings, tmp_path: Path) -> None:
    found = said(look(tmp_path, DATABASE_URL=str(empty_database.url)), "migrations")
    assert [level for level, _ in found] == [Level.FAIL]
    assert "castledger migrate up" in found[0][1]


def test_a_database_that_does_not_answer_fails(tmp_path: Path) -> None:
    found = look(tmp_path, DATABASE_URL=NOWHERE)
    assert levels(found, "database") == [Level.FAIL]
    assert levels(found, "migrations") == []


def _segment(number: int, frames: bytes) -> tuple[str, bytes]:
    header = SegmentHeader(UUID(int=number), 1_700_000_000_000_000 + number, "tracker-0")
    return f"{segment_name(header)}.sealed", encode_header(header) + frames


def test_what_waits_in_the_spool_is_told_with_its_age_and_damage(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    assert levels(look(tmp_path), "spool") == [Level.OK]
    spool.mkdir()
    (spool / "1.damaged").touch()
    name, data = _segment(1, encode_totals_frame(FrameKind.SEAL, Totals()))
    (spool / name).write_bytes(data)
    assert levels(look(tmp_path), "spool") == [Level.WARN, Level.OK]
    os.utime(spool / name, (0, 0))
    assert levels(look(tmp_path), "spool") == [Level.WARN, Level.WARN]
    os.utime(spool / name)
    bad_name, bad = _segment(2, encode_totals_frame(FrameKind.SEAL, Totals()))
    (spool / bad_name).write_bytes(bad[:-1] + bytes([bad[-1] ^ 1]))
    (spool / "3.sealed").write_bytes(b"x")
    found = said(look(tmp_path), "spool")
    assert [level for level, _ in found] == [Level.WARN, Level.FAIL, Level.FAIL, Level.OK]
    assert any(bad_name in text and "damaged" in text for _, text in found)
    assert any("shorter than its header" in text for _, text in found)
    shutil.rmtree(spool)
    spool.touch()
    assert levels(look(tmp_path), "spool") == [Level.FAIL]


def test_what_waits_in_the_spool_of_collectors_is_told_apart(tmp_path: Path) -> None:
    path = write_event_segment(tmp_path / "events", [(dt.datetime.now(dt.UTC), make_event(1))] * 3)
    assert said(look(tmp_path), "events") == [(Level.OK, "1 sealed segments wait, 0.0 MiB, 3 events")]
    os.utime(path, (0, 0))
    assert levels(look(tmp_path), "events") == [Level.WARN]
    assert levels(look(tmp_path), "spool") == [Level.OK]


def test_lists_of_agents_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "agents"
    folder.mkdir()
    for name in LIST_FILES:
        (folder / name).write_text('{"entries": [{"name": "Earwig", "pattern": "^Earwig/"}]}')
    environ = {"CASTLEDGER_AGENT_LISTS": str(folder)}
    assert levels(look(tmp_path, **environ), "lists") == [Level.WARN, Level.OK]
    (folder / "apps.runtime.json").write_text('{"entries": [\n{"name": "Earwig", "pattern": "("}]}')
    found = look(tmp_path, **environ)
    assert levels(found, "lists") == [Level.WARN, Level.FAIL]
    text = said(found, "lists")[1][1]
    assert "apps.runtime.json:2: the pattern is no regular expression" in text
    assert "our own table stays in force" in text


def test_own_profiles_that_cannot_be_used_are_told_by_key(tmp_path: Path) -> None:
    assert said(look(tmp_path), "profiles") == []
    path = tmp_path / "profiles.toml"
    path.write_text('[profiles.house]\nbase = "op3"\n')
    assert levels(look(tmp_path, CASTLEDGER_PROFILES=str(path)), "profiles") == [Level.OK]
    path.write_text('[profiles.house]\nbase = "op4"\nseconds = -1\n')
    found = said(look(tmp_path, CASTLEDGER_PROFILES=str(path)), "profiles")
    assert [level for level, _ in found] == [Level.FAIL, Level.FAIL]
    assert all(f"{path}: profiles.house." in text for _, text in found)


def test_lists_that_are_absent_or_old_are_told(tmp_path: Path) -> None:
    assert levels(look(tmp_path), "lists") == [Level.WARN]
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "datacenter.txt").write_text("192.0.2.0/24\n")
    assert levels(look(tmp_path), "lists") == [Level.WARN, Level.OK]
    (lists / "vpn.txt").write_text("192.0.2.0/24\n")
    geo = write_database(tmp_path / "country.mmdb", {"country_code": "DE"}, {"country_code": "FR"})
    assert levels(look(tmp_path, CASTLEDGER_GEO_DATABASE=str(geo)), "lists") == [Level.OK, Level.OK]
    os.utime(lists / "datacenter.txt", (0, 0))
    os.utime(geo, (0, 0))
    found = said(look(tmp_path, CASTLEDGER_GEO_DATABASE=str(geo)), "lists")
    assert [level for level, _ in found] == [Level.WARN, Level.WARN]
    assert "datacenter.txt" in found[0][1]
    (lists / "vpn.txt").write_text("192.0.2.0/24\nnonsense\n")
    (failed,) = [text for level, text in said(look(tmp_path), "lists") if level is Level.FAIL]
    assert "vpn.txt:2" in failed


def test_cities_that_no_database_names_are_told(tmp_path: Path) -> None:
    def warnings(**environ: str) -> list[str]:
        return [text for _, text in said(look(tmp_path, **environ), "lists") if "CASTLEDGER_CITIES" in text]

    regions = {"country_code": "DE", "state1": "Hessen"}
    geo = write_database(tmp_path / "x.mmdb", {"country_code": "FR"}, regions)
    (warning,) = warnings(CASTLEDGER_CITIES="true", CASTLEDGER_GEO_DATABASE=str(geo))
    assert "test-Country-2026-09-21 names no cities" in warning
    assert len(warnings(CASTLEDGER_CITIES="true")) == 1
    assert warnings(CASTLEDGER_GEO_DATABASE=str(geo)) == []
    write_database(geo, {"country_code": "FR"}, {**regions, "city": "Fulda"})
    assert warnings(CASTLEDGER_CITIES="true", CASTLEDGER_GEO_DATABASE=str(geo)) == []


def test_shared_addresses_are_named_before_they_act_no_longer(tmp_path: Path) -> None:
    today = find_today()
    lists = tmp_path / "lists"
    lists.mkdir()
    for name in ("datacenter.txt", "vpn.txt"):
        (lists / name).write_text("192.0.2.0/24\n")
    (lists / "shared.txt").write_text(f"198.51.100.0/24 {today - dt.timedelta(days=10)} Dormitory\n")
    os.utime(lists / "shared.txt", (0, 0))
    found = look(tmp_path)
    # Its entries say how old it is, not its file.
    assert levels(found, "lists") == [Level.OK]
    assert levels(found, "shared addresses") == [Level.OK]
    (lists / "shared.txt").write_text(f"198.51.100.0/24 {today - dt.timedelta(days=80)} Dormitory\n")
    ((level, text),) = said(look(tmp_path), "shared addresses")
    assert level is Level.WARN
    assert "198.51.100.0/24 (Dormitory): validated 80 days ago, acts for 10 days more" in text
    (lists / "shared.txt").write_text("198.51.100.0/8 2026-11-01 Dormitory\n")
    (failed,) = [text for level, text in said(look(tmp_path), "lists") if level is Level.FAIL]
    assert "shared.txt:1: '198.51.100.0/8' is wider than /16" in failed


def test_a_port_is_free_or_ours_or_taken(tmp_path: Path) -> None:
    with socket.socket() as taken, TrackerProcess(tmp_path) as tracker:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        environ = FREE | {"TRACKER_HOST": "127.0.0.1", "TRACKER_PORT": str(port), "CASTLEDGER_API_HOST": "127.0.0.1"}
        taken.listen()
        # It accepts and says nothing, as a program of somebody else's would.
        assert [found.level for found in look_at_ports(load_settings(environ), None)] == [Level.FAIL]
        up = running(answers={"tracker_url": f"http://127.0.0.1:{port}", "api_key": "x"})
        assert [found.level for found in look_at_ports(load_settings(environ), up)] == [Level.OK]
        environ["TRACKER_PORT"] = str(tracker.port)
        [found] = look_at_ports(load_settings(environ), None)
        assert (found.level, found.text) == (Level.OK, f"{tracker.port} answers as the tracker does")
        environ |= {"TRACKER_PORT": "0", "CASTLEDGER_ADMIN_PORTS": f"tracker={port},api=0,ingest=0,collector=0"}
        assert [found.level for found in look_at_ports(load_settings(environ), None)] == [Level.WARN]
    environ["TRACKER_PORT"] = str(port)
    environ["CASTLEDGER_ADMIN_PORTS"] = FREE["CASTLEDGER_ADMIN_PORTS"]
    [found] = look_at_ports(load_settings(environ), None)
    assert (found.level, found.text) == (Level.OK, f"{port} is free for the tracker")


def test_our_name_leads_to_a_tracker_or_not(tmp_path: Path) -> None:
    assert list(look_at_public_name("")) == []
    with TrackerProcess(tmp_path) as tracker:
        [found] = look_at_public_name(f"http://127.0.0.1:{tracker.port}")
        assert found.level is Level.OK
    [found] = look_at_public_name(f"http://127.0.0.1:{tracker.port}")
    assert (found.level, "start the tracker" in found.text) == (Level.FAIL, True)
    [found] = look_at_public_name("https://pod.invalid")
    assert (found.level, "A and AAAA records" in found.text) == (Level.FAIL, True)


class _Site(NamedTuple):
    status: int
    headers: dict[str, str]


@pytest.mark.parametrize(
    ("site", "says"),
    [
        (_Site(200, {}), "something else answers"),
        (_Site(404, {}), "something else answers"),
        (_Site(301, {"Location": "https://www.example.com/robots.txt"}), "redirects to https://www.example.com"),
    ],
)
def test_a_name_that_leads_elsewhere_is_told(site: _Site, says: str) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer as some web site would."""
            self.send_response(site.status)
            for name, value in site.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"User-agent: *\nDisallow:\n")

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the base class names it
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        [found] = look_at_public_name(f"http://127.0.0.1:{server.server_port}")
        thread.join()
    assert (found.level, says in found.text) == (Level.FAIL, True)


@pytest.fixture
def redis_socket(folder: Path) -> Iterator[Path]:
    """A Redis of the test's own."""
    with run_redis(folder) as (path, _):
        yield path


def test_redis_is_pinged_when_it_is_configured(redis_socket: Path) -> None:
    assert list(look_at_redis(None)) == []
    [found] = look_at_redis(RedisSettings(url=Secret(f"unix://:{PASSWORD}@{redis_socket}")))
    assert found.level is Level.OK
    [found] = look_at_redis(RedisSettings(url=Secret(f"unix://:wrong@{redis_socket}")))
    assert found.level is Level.FAIL
    assert "wrong@" not in found.text
    [found] = look_at_redis(RedisSettings(url=Secret("redis://127.0.0.1:1/0")))
    assert (found.level, "mend REDIS_URL" in found.text) == (Level.FAIL, True)


def test_an_up_that_was_killed_is_told(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as ended:
        pass
    write_running_up(tmp_path, running(pid=ended.pid))
    assert levels(look(tmp_path), "up") == [Level.WARN]


def test_the_command_ends_with_1_only_on_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_running_up(tmp_path, running())
    assert main(["doctor", "--data-dir", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "ok   up: runs as process" in out
    assert "fail database: " in out
    assert main(["doctor", "--json", "--data-dir", str(tmp_path)]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False
    assert {"level", "what", "text"} == set(report["findings"][0])
    assert any(row["level"] == "fail" and row["what"] == "database" for row in report["findings"])


def test_what_only_warns_ends_with_0(database: DatabaseSettings, tmp_path: Path) -> None:
    found = look(tmp_path, DATABASE_URL=str(database.url))
    assert Level.FAIL not in {finding.level for finding in found}
    assert Level.WARN in {finding.level for finding in found}
