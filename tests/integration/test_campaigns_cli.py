"""``castledger campaigns``, ``sponsors`` and ``report``: told, made and written by command, over a running API."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import datetime as dt
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest

from analytics_core.clock import SystemClock
from analytics_core.db.pool import Tenant, connect
from analytics_core.db.reports import begin_report, fail_report, list_waiting
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from castledger_server.api_access import Api
from castledger_server.cli import main
from ingest.reports import make_reports
from tests.api_processes import make_owner_key, start
from tests.campaigns import deliver, make_campaign, make_flight, make_placement, make_run
from tests.integration.api.ledger import Ledger, make_feed

# All of it lies a year back, so that nothing depends on the day on which the test runs.
DAYS = ("--from", "2025-11-01", "--to", "2025-12-01")
FIRST_DAY, LAST_DAY = dt.date(2025, 11, 1), dt.date(2025, 11, 30)
BEGINS, ENDS = dt.datetime(2025, 11, 1, tzinfo=dt.UTC), dt.datetime(2025, 11, 21, tzinfo=dt.UTC)


class World(NamedTuple):
    """A running API, and a campaign of Acme's that was heard in two episodes, beside one that was cancelled."""

    url: str
    key: str
    database: DatabaseSettings
    campaign_id: UUID
    flight_id: UUID

    @property
    def api(self) -> Api:
        """What asks the API."""
        return Api(self.url, self.key)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Ask the API."""
        return json.loads(self.api.send(method, path, body))

    def name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Name it in the environment, where commands find it."""
        monkeypatch.setenv("CASTLEDGER_API_URL", self.url)
        monkeypatch.setenv("CASTLEDGER_API_KEY", self.key)


class Run(NamedTuple):
    """What a command ended with, and what it wrote."""

    code: int
    out: list[str]
    err: str


@contextlib.contextmanager
def make_world(database: DatabaseSettings, folder: Path) -> Iterator[World]:
    with start(
        folder,
        DATABASE_URL=str(database.url),
        TRACKER_PUBLIC_URL="https://pod.example.com",
        CASTLEDGER_API_RATE="600000",
    ) as running:
        key = make_owner_key(database)
        api = Api(running.url, key)
        sponsor = json.loads(api.send("POST", "/sponsors", {"name": "Acme"}))
        podcast = json.loads(api.post("/podcasts", make_feed(), media_type="application/rss+xml"))
        episodes = json.loads(api.get(f"/podcasts/{podcast['podcast_id']}/episodes", {}))["data"]
        campaign_id, flight_id = asyncio.run(
            sell(database, sponsor["sponsor_id"], [episode["episode_id"] for episode in episodes])
        )
        yield World(running.url, key, database, campaign_id, flight_id)


@pytest.fixture
def world(database: DatabaseSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with make_world(database, tmp_path) as made:
        made.name(monkeypatch)
        yield made


@pytest.fixture(scope="module")
def untouched(untouched_database: DatabaseSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world for what is refused."""
    with make_world(untouched_database, tmp_path_factory.mktemp("api")) as made:
        yield made


async def sell(database: DatabaseSettings, sponsor_id: str, episodes: list[str]) -> tuple[UUID, UUID]:
    """Sell 1,000 impressions at 25.00 a thousand, of which 650 came, with 4 conversions and a tenth by a model."""
    async with Ledger.open(database) as ledger:
        conn = ledger.operator
        row = await conn.fetchrow("select tenant_id, tenant_no from app.tenants")
        assert row is not None
        tenant = Tenant(row["tenant_id"], row["tenant_no"])
        days: dict[str, Any] = {"starts_on": FIRST_DAY, "ends_on": LAST_DAY}
        campaign = await make_campaign(conn, tenant, sponsor_id, name="Autumn", model="linear", **days)
        flight_id = await make_flight(conn, campaign, name="First", starts_at=BEGINS, ends_at=ENDS)
        one, other = [await make_placement(conn, campaign, flight_id, episode_id) for episode_id in episodes]
        await deliver(conn, one, "2025-11-02", 250)
        await deliver(conn, other, "2025-11-03", 400)
        await make_run(
            conn,
            campaign,
            ("deterministic", flight_id, "EUR", 4_000_000, 1_000_000, 12_000),
            ("linear", flight_id, "EUR", 3_100_000, 500_000, 9_950),
        )
        await make_campaign(conn, tenant, sponsor_id, name="Gone", status="cancelled", **days)
    return campaign.campaign_id, flight_id


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    def command(*arguments: str) -> Run:
        code = main(arguments)
        said = capsys.readouterr()
        return Run(code, said.out.splitlines(), said.err)

    return command


async def make_waiting(database: DatabaseSettings, *, error: str | None = None) -> int:
    """Make the reports that wait, as ingest does, or have them fail; returns how many."""
    conn = await connect(database, Role.INGEST, application_name="test")
    try:
        if error is None:
            return (await make_reports(conn, database, clock=SystemClock()))["made"]
        waiting = await list_waiting(conn)
        for report in waiting:
            begun = await begin_report(conn, report)
            assert begun is not None
            await fail_report(conn, begun, error=error, now=SystemClock().now())
        return len(waiting)
    finally:
        await conn.close()


def test_campaigns_are_listed_and_told(world: World, run: Callable[..., Run]) -> None:
    listed = run("campaigns", "--sponsor", "ACME")
    assert listed == Run(
        0,
        [
            f"{'id':<38}{'state':<11}{'delivered':>12}{'booked':>12}  {'pace':<17}{'sure':>6}{'cost of one':>14}  "
            "campaign (sponsor)",
            # 650 at 25.00 a thousand are 16.25, by 4 that are known for sure.
            f"{world.campaign_id!s:<38}{'active':<11}{650:>12}{'1,000':>12}  {'behind, 65 %':<17}{4:>6}{'€4.06':>14}  "
            "Autumn (Acme)",
            "left out: 1 of 2, which --all shows too, as they are over",
        ],
        "",
    )
    code, (_, *lines), _ = run("campaigns", "--all")
    assert code == 0
    assert {line.split("  ")[-1] for line in lines} == {"Autumn (Acme)", "Gone (Acme)"}
    assert [" cancelled " in line for line in lines] == [line.endswith("Gone (Acme)") for line in lines]
    unknown = run("campaigns", "--sponsor", "Acne")
    assert (unknown.code, unknown.err) == (
        2,
        "castledger: --sponsor: there is no sponsor 'Acne'; there are:\n  Acme\n",
    )

    world.ask("POST", f"/flights/{world.flight_id}/promo-codes", {"code": "ACME20"})
    link = {"url": "https://shop.example.com/", "slug": "acme", "flight_id": str(world.flight_id)}
    world.ask("POST", "/links", link)
    code, lines, _ = run("campaign", "autumn")
    assert code == 0
    assert run("campaign", str(world.campaign_id)).out == lines
    assert lines[:2] == ["Autumn, for Acme", "active, 2025-11-01 to 2025-11-30, budget €10,000.00"]
    told = "\n".join(lines)
    for line in (
        f"delivered  {'#' * 26}{'.' * 14}  650 of 1,000 booked",
        f"due        {'#' * 40}  1,000 by now: behind, 65 %",
        "owed       350 to be made good, 0 of them booked",
        "sure       4 conversions, €4.06 each",
        "cost       €16.25 so far",
        f"{650:>12}{'1,000':>12}{350:>12}  behind, 65 %     First, 2025-11-01 to 2025-11-20",
        f"{400:>12}  mid-roll         2025-11-01 to 2025-12-20  Episode 1 (Podcast 1)",
        f"{250:>12}  mid-roll         2025-11-01 to 2025-12-20  Episode 2 (Podcast 1)",
        f"{0:>12}  code ACME20",
        f"{0:>12}  link https://pod.example.com/go/acme",
        f"{4:>12}{1:>9}{'€4.06':>14}{'7.38':>9}  {'sure':<24}€120.00",
        f"{'3.1':>12}{'0.5':>9}{'€5.24':>14}{'6.12':>9}  {'linear (agreed on)':<24}€99.50",
    ):
        assert f"\n{line}\n" in told, told
    assert "in the end" not in told

    assert run("campaign", str(uuid4())).code == 1
    assert run("campaign", "winter") == Run(
        2, [], "castledger: CAMPAIGN: there is no campaign 'winter'; there are:\n  Autumn\n  Gone\n"
    )
    [going_on] = run("campaigns", "--json").out
    assert json.loads(going_on) in world.ask("GET", "/campaign-standings")["data"]
    delivery, performance = (json.loads(line) for line in run("campaign", "autumn", "--json").out)
    assert (delivery["delivered"], performance["cost_amount"]) == (650, 1_625)


def test_a_campaign_is_sold_from_a_shell(world: World, run: Callable[..., Run]) -> None:
    def done(*arguments: str) -> list[str]:
        ended = run(*arguments)
        assert (ended.code, ended.err) == (0, ""), ended
        return ended.out

    zenith = done("sponsors", "add", "Zenith", "--domain", "zenith.example.com")
    assert zenith[1:] == [
        "sponsor: Zenith, zenith.example.com",
        "next: castledger sponsor Zenith action add Order --category purchase --event-type purchase",
        "next: castledger campaigns add --sponsor Zenith --help",
    ]
    assert [line.split()[1:] for line in done("sponsors")] == [
        ["shop", "sponsor"],
        ["–", "Acme"],
        ["zenith.example.com", "Zenith"],
    ]
    order = ("sponsor", "zenith", "action", "add", "Order", "--category", "purchase", "--event-type", "purchase")
    assert done(*order) == ["Order counts for Zenith: events of type purchase"]
    assert done("campaigns", "--sponsor", "Zenith") == [
        "there is no campaign; make one:",
        "  castledger campaigns add --sponsor Zenith --name Autumn --from 2026-11-20 --until 2026-12-31 --cpm 25.00 "
        "--currency EUR --booked 100000",
    ]

    selling = ("campaigns", "add", "--sponsor", "zenith", "--name", "Long Run", "--from", "2025-11-01")
    terms = ("--until", "2027-11-01", "--cpm", "25.00", "--currency", "EUR", "--booked", "100000")
    shown = done(*selling, *terms, "--dry-run")
    assert [line.partition(" {")[0] for line in shown] == [
        "would ask: POST /api/v1/campaigns",
        "would ask: POST /api/v1/campaigns/{campaign_id}/flights",
        "nothing was changed",
    ]
    assert run(*selling, "--until", "2099-12-31", *terms[2:]).code == 1
    sold = done(*selling, *terms)
    assert sold[1:] == [
        "campaign: Long Run, for Zenith, 2025-11-01 to 2027-11-01",
        "state: draft",
        "flight: Long Run, 2025-11-01 to 2027-11-01, €25.00 a thousand impressions, 100,000 impressions booked",
        "next: castledger campaign 'Long Run' place EPISODE",
    ]
    campaign_id = sold[0].removeprefix("campaign_id: ")
    assert world.ask("GET", f"/campaigns/{campaign_id}")["budget_amount"] == 250_000

    early = run("campaign", "long run", "activate")
    assert early.code == 1
    assert "the campaign has no placement, no promo code or link" in early.err
    assert "how to give it one says `castledger campaign 'long run' --help`" in early.err
    assert "the flight is in Episode 1 already" in run("campaign", "long run", "place", "1", "episode 1").err
    assert world.ask("GET", f"/placements?campaign_id={campaign_id}")["data"] == []
    assert run("campaign", "long run", "place", "Episode").err.startswith(
        "castledger: EPISODE: 2 episodes are named 'Episode'; give an id:\n"
    )
    placed = done("campaign", "long run", "place", "episode 1", "2", "--dynamic", "--position", "pre")
    assert [line.partition(", downloads count ")[0] for line in placed] == [
        "placed: Episode 1 (Podcast 1), pre-roll",
        "placed: Episode 2 (Podcast 1), pre-roll",
    ]
    assert {
        (one["delivery"], one["position"], one["host_read"])
        for one in world.ask("GET", f"/placements?campaign_id={campaign_id}")["data"]
    } == {("dynamic", "pre", True)}
    again = ("campaign", "long run", "place", "2", "--dynamic", "--position", "pre")
    twice = run(*again)
    assert (twice.code, twice.out) == (2, [])
    assert twice.err.startswith("castledger: EPISODE: the flight is in Episode 2 already, pre-roll; with --again")
    assert len(done(*again, "--again")) == 1
    assert done("campaign", "long run", "go-live", "2") == ["live: Episode 2, pre-roll, 0 downloads"] * 2
    assert done("campaign", "long run", "miss", "2") == ["missed: Episode 2, pre-roll, 0 downloads"] * 2
    assert run("campaign", "long run", "pull", "2").err.startswith(
        "castledger: EPISODE: there is no episode of the campaign '2'; there are:\n  Episode 1\n"
    )
    later = ("--name", "Later", "--from", "2027-10-01", "--booked", "500")
    assert done("campaign", "long run", "flight", "add", *later)[0] == (
        "flight: Later, 2027-10-01 to 2027-11-01, €25.00 a thousand impressions, 500 impressions booked"
    )
    outside = run(
        "campaign", "long run", "flight", "add", "--name", "x", "--from", "2027-10-01", "--until", "2028-01-01"
    )
    assert outside.err.startswith("castledger: --until: is after the campaign ends, on 2027-11-01")
    several = run("campaign", "long run", "code", "add", "ZENITH20")
    assert (several.code, several.err) == (
        2,
        "castledger: --flight: the campaign has several; say which:\n  Long Run\n  Later\n",
    )
    assert done("campaign", "long run", "code", "add", "zenith20", "--flight", "later") == ["code: ZENITH20"]
    assert len(done("campaign", campaign_id, "code", "add", "--count", "3", "--prefix", "ZE", "--flight", "later")) == 3
    shop = ("https://zenith.example.com/", "--slug", "zenith", "--click-id", "--flight", "long run")
    assert done("campaign", "long run", "link", "add", *shop) == [
        "link: https://pod.example.com/go/zenith",
        "leads to: https://zenith.example.com/",
    ]
    assert done("campaign", "long run", "activate") == ["Long Run is active, 2025-11-01 to 2027-11-01"]
    assert done("campaign", "long run", "pause") == ["Long Run is paused, 2025-11-01 to 2027-11-01"]
    paused = run("campaign", "long run", "pause")
    assert (paused.code, "resume" in paused.err) == (1, True)
    # What was said before the action holds for it too.
    [moved] = done("campaign", "--json", "long run", "resume")
    assert (json.loads(moved)["campaign_id"], json.loads(moved)["status"]) == (campaign_id, "active")

    # A run is asked for; nobody makes it here.
    waiting = run("sponsor", "zenith", "attribute", *DAYS, "--model", "last", "--wait", "0")
    [asked] = world.ask("GET", "/attribution/runs")["data"][-1:]
    assert (waiting.code, asked["models"], asked["from"]) == (1, ["last"], "2025-11-01T00:00:00Z")
    assert waiting.err.splitlines()[1].startswith(f"castledger: the run {asked['run_id']} is queued after 0 s; ")
    assert done("campaign", "long run", "cancel") == ["Long Run is cancelled, 2025-11-01 to 2027-11-01"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--cpm", "25.00", "--currency", "EUR"], "--budget: is needed: what it may cost follows from --flat alone"),
        (["--flat", "25.00", "--currency", "eur"], "--currency: has to be a currency of ISO 4217"),
        (["--flat", "25,00", "--currency", "EUR"], "--flat: has to be an amount such as 1234.50"),
        (["--flat", "25.00", "--currency", "EUR", "--until", "2025-10-01"], "--until: is the last day, and not before"),
        (["--flat", "25.00", "--currency", "EUR", "--until", "9999-12-31"], "--until: is the last day of the calendar"),
        (
            ["--flat", "25.00", "--currency", "EUR", "--from", "monday"],
            "--from: is a date such as 2026-11-01, not 'mon",
        ),
    ],
)
def test_what_cannot_be_sold_is_said_before_anything_is_made(
    arguments: list[str],
    complaint: str,
    run: Callable[..., Run],
    untouched: World,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    untouched.name(monkeypatch)
    days = ("--from", "2025-11-01", "--until", "2025-11-30")
    refused = run("campaigns", "add", "--sponsor", "Acme", "--name", "x", *days, *arguments)
    assert (refused.code, refused.out) == (2, [])
    assert refused.err.startswith(f"castledger: {complaint}")
    assert len(untouched.ask("GET", "/campaigns")["data"]) == 2


def test_a_report_is_asked_for_waited_for_and_written(world: World, run: Callable[..., Run], tmp_path: Path) -> None:
    out = tmp_path / "acme.csv"
    late = run("report", "sponsor", "--sponsor", "Acme", *DAYS, "--out", str(out), "--wait", "0")
    assert late.code == 1
    report_id = late.err.split()[2]
    assert late.err.splitlines()[1:] == [
        f"castledger: the report {report_id} is queued after 0 s; later: castledger report fetch {report_id}"
    ]
    assert not out.exists()

    # It is made while the command waits.
    maker = threading.Timer(0.2, lambda: asyncio.run(make_waiting(world.database)))
    maker.start()
    fetched = run("report", "fetch", report_id, "--out", str(out))
    maker.join()
    *progress, written = fetched.err.splitlines()
    assert (fetched.code, fetched.out, written) == (0, [], f"castledger: {out}: {out.stat().st_size:,} bytes")
    assert all(line.endswith(" % is made") for line in progress), progress
    assert out.read_bytes() == world.api.get(f"/reports/{report_id}/file", {})
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["delivered"] for row in rows if row["table"] == "flights"] == ["650"]
    shared = run("report", "share", report_id, "--days", "3", "--max-views", "2")
    assert (shared.code, [line.partition(" ")[0] for line in shared.out]) == (0, ["token:", "no", "good"])
    [share] = world.ask("GET", f"/reports/{report_id}/shares")["data"]
    assert (share["max_views"], share["state"]) == (2, "open")
    params = world.ask("GET", f"/reports/{report_id}")["params"]
    sponsor_id = world.ask("GET", "/sponsors")["data"][0]["sponsor_id"]
    assert (params["from"], params["to"], params["sponsor_id"]) == ("2025-11-01", "2025-12-01", sponsor_id)


def test_other_kinds_of_reports_and_what_fails(
    world: World, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    def ask(*arguments: str) -> str:
        assert main(["report", *arguments, *DAYS, "--wait", "0"]) == 1
        return capsysbinary.readouterr().err.decode().split()[2]

    # The only podcast is meant; the ending of the file names the format.
    podcast = ask("podcast", "--tz", "Europe/Berlin", "--out", str(tmp_path / "october.XLSX"))
    delivery = ask("delivery", "--campaign", str(world.campaign_id), "--format", "json")
    told = {one: world.ask("GET", f"/reports/{one}") for one in (podcast, delivery)}
    assert (told[podcast]["kind"], told[podcast]["format"], told[podcast]["params"]["tz"]) == (
        "podcast",
        "xlsx",
        "Europe/Berlin",
    )
    assert told[delivery]["params"]["campaign_id"] == str(world.campaign_id)
    assert asyncio.run(make_waiting(world.database)) == 2
    # Without a file it goes to standard output, byte for byte, with nothing beside it.
    for report_id in told:
        assert main(["report", "fetch", report_id]) == 0
        assert capsysbinary.readouterr() == (world.api.get(f"/reports/{report_id}/file", {}), b"")

    failed = ask("delivery")
    asyncio.run(make_waiting(world.database, error="the disk is full"))
    assert main(["report", "fetch", failed]) == 1
    why = f"castledger: the report {failed} could not be made: the disk is full\n"
    assert capsysbinary.readouterr() == (b"", why.encode())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["sponsor", "--sponsor", "Acme", "--from", "x", "--to", "2025-12-01"], "--from: is a date such as"),
        (["delivery", *DAYS, "--campaign", "x"], "--campaign: 'x' is no id; `castledger campaigns` shows them"),
        (["sponsor", "--sponsor", "Acme", *DAYS, "--run", "x"], "--run: 'x' is no id"),
        (["delivery", *DAYS, "--out", "/tmp"], "--out: /tmp is a folder; name a file in it"),
        (["delivery", *DAYS, "--out", "/nowhere/at/all.csv"], "--out: there is no folder /nowhere/at"),
        (["fetch", "x"], "ID: 'x' is no id; it was told when the report was asked for"),
        (["share", "x"], "ID: 'x' is no id; it was told when the report was asked for"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_asked_for(
    arguments: list[str], complaint: str, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASTLEDGER_API_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("CASTLEDGER_API_KEY", "x")
    done = run("report", *arguments)
    assert done.code == 2
    assert done.err.startswith(f"castledger: {complaint}")
    assert done.out == []
