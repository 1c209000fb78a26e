"""The command line: what it shows, writes and says, and with which exit code."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import unicodedata
from typing import Any
from uuid import UUID

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from castledger import Castledger
from castledger.cli import main
from castledger.cli._terminal import Terminal
from sdk.tests.servers import ENVIRON, Installation
from sdk.tests.twin import KEY, NOW, PODCASTS, REPORT, problem

BY_APP: dict[str, Any] = {
    **REPORT,
    "tz": "UTC",
    "interval": "month",
    "from": "2026-10-20T00:00:00Z",
    "to": "2026-11-19T00:00:00Z",
    "data": [
        {"start": "2026-10-01T00:00:00Z", "key": "Overcast", "downloads": 30, "downloads_strict": 29},
        {"start": "2026-10-01T00:00:00Z", "key": "=HYPERLINK(1)", "downloads": 5, "downloads_strict": 5},
        {"start": "2026-11-01T00:00:00Z", "key": "", "downloads": 5, "downloads_strict": 4},
        {"start": "2026-11-01T00:00:00Z", "key": "Overcast", "downloads": 10, "downloads_strict": 10},
        {"start": "2026-11-01T00:00:00Z", "key": "other", "downloads": 50, "downloads_strict": 50, "values": 1200},
    ],
    "listeners_reason": "by",
}
OVERVIEW_EPISODE = {"key": str(UUID(int=1)), "title": "The moat", "downloads": 5, "downloads_strict": 5, "share": 1.0}
NOBODY = {"data": [], "other_values": 0, "other_downloads": 0, "other_downloads_strict": 0}
OVERVIEW = {
    **{name: value for name, value in REPORT.items() if name not in ("data", "interval")},
    "downloads": 5,
    "downloads_strict": 5,
    "episodes": {**NOBODY, "data": [OVERVIEW_EPISODE]},
    "apps": NOBODY,
    "countries": NOBODY,
}
EPISODES = [
    {"episode_id": str(UUID(int=number)), "podcast_id": str(UUID(int=0)), "guid": f"g{number}", "title": title}
    | {"live": False}
    for number, title in enumerate(["The moat", "The \x1b[31mdrawbridge"])
]
CURVES = [
    {
        "episode_id": str(UUID(int=number)),
        "title": title,
        "published_at": NOW,
        "points": [{"day": 1, "downloads": 1234}, {"day": 7, "reason": "not_over"}, {"day": 30, "reason": "not_over"}],
    }
    for number, title in enumerate(["The moat", "The \x1b[31mdrawbridge " + "塔" * 50])
]
EXPLANATION = {
    "podcast_id": str(UUID(int=0)),
    "day": "2026-11-24",
    "hits": 1200,
    "downloads": 900,
    "downloads_strict": 890,
    "repeats": 98,
    "left_out": 2,
    "verdicts": [
        {"verdict": "eligible", "evidence": "full", "hits": 1000, "downloads": 900},
        {"verdict": "bot", "evidence": None, "hits": 200, "downloads": 0},
    ],
    "profile": "castledger-1",
    "rules": "castledger-1.2",
    "state": "final",
    "partial": False,
}
LINKS: list[dict[str, Any]] = [
    {"link_id": str(UUID(int=number)), "slug": slug, "url": "https://shop.example.com/", "target": "https://x"}
    | {"click_id": False, "clicks": 7, "bots": 1, "created_at": NOW, "utm": {}, "short_url": None}
    | {"archived_at": archived_at}
    for number, (slug, archived_at) in enumerate([("offer", None), ("gone", NOW)])
]


class API:
    """Answers by path, and remembers what it was asked."""

    def __init__(self, **answers: Any) -> None:
        self.asked: list[httpx.Request] = []
        self.answers = {
            "/api/v1/podcasts": {"data": PODCASTS},
            f"/api/v1/podcasts/{UUID(int=3)}/episodes": {"data": EPISODES},
            "/api/v1/analytics/overview": OVERVIEW,
            "/api/v1/analytics/curves": {"data": CURVES},
            "/api/v1/analytics/explain": EXPLANATION,
            "/api/v1/links": {"data": LINKS},
        } | {f"/api/v1/{path.replace('__', '/')}": answer for path, answer in answers.items()}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = self.answers.get(request.url.path)
        if answer is None:
            answer = BY_APP if "by" in request.url.params else REPORT
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)


def run(*argv: str, api: API | None = None) -> tuple[int, str, str]:
    """Run a command with a client that asks an API of its own."""
    out, err = io.StringIO(), io.StringIO()
    transport = httpx.MockTransport(api or API())
    code = main(argv, connect=lambda _: Castledger(KEY, transport=transport, max_retries=0), out=out, err=err)
    return code, out.getvalue(), err.getvalue()


def test_downloads_are_shown_by_time() -> None:
    api = API()
    code, out, err = run("downloads", "--podcast", "show 3", "--from", "2026-11-01", "--to", "2026-12-01", api=api)
    assert (code, err) == (0, "")
    title, _, head, *rows = out.splitlines()
    assert title == "Show 3 · downloads · 2026-11-01 01:00 up to 2026-12-01 (Europe/Berlin)"
    assert head.split() == ["start", "downloads", "listeners"]
    assert rows[0].split() == ["2026-11-02", "08:00", "7", "5", "█" * 40]
    assert rows[-2:] == ["downloads: 14", "counted by castledger-1.1, provisional"]
    asked = api.asked[-1].url.params
    assert dict(asked) == {"podcast_id": str(UUID(int=3)), "from": "2026-11-01", "to": "2026-12-01"}


def test_downloads_by_app_are_summed_up_over_the_range() -> None:
    api = API()
    _, out, _ = run("downloads", "--by", "app", "--limit", "3", api=api)
    lines = out.splitlines()
    assert lines[0] == "All podcasts · downloads by app · 2026-10-20 to 2026-11-18 (UTC)"
    assert [line.split()[:3] for line in lines[3:7]] == [
        ["Overcast", "40", "40.0%"],
        ["(unknown)", "5", "5.0%"],
        ["=HYPERLINK(1)", "5", "5.0%"],
        ["1,200", "others", "50"],
    ]
    assert dict(api.asked[0].url.params) == {"interval": "month", "by": "app", "limit": "3"}


def test_downloads_by_app_and_time_are_not_summed_up() -> None:
    _, out, _ = run("downloads", "--by", "app", "--interval", "month")
    assert len(out.splitlines()[3:-3]) == len(BY_APP["data"])


def test_episodes_are_told_by_title() -> None:
    answer = {**BY_APP, "data": [{**BY_APP["data"][0], "key": str(UUID(int=1))}]}
    _, out, _ = run("downloads", "--by", "episode", api=API(analytics__downloads=answer))
    assert "The moat" in out
    _, out, _ = run("downloads", "--by", "episode", "--json", api=API(analytics__downloads=answer))
    assert [row["title"] for row in json.loads(out)["data"]] == ["The moat"]


def test_json_has_everything_and_how_it_was_counted() -> None:
    _, out, _ = run("downloads", "--json")
    found = json.loads(out)
    assert (found["profile"], found["state"], found["from"]) == ("castledger-1", "provisional", REPORT["from"])
    assert [row["downloads"] for row in found["data"]] == [7, 7]
    _, out, _ = run("podcasts", "--json")
    assert [row["title"] for row in json.loads(out)["data"]] == [podcast["title"] for podcast in PODCASTS]
    _, out, _ = run("explain", "--podcast", "show 3", "--json")
    assert json.loads(out)["repeats"] == 98


@pytest.mark.parametrize(
    ("argv", "fields", "rows"),
    [
        (("downloads",), "start,downloads,downloads_strict,key,listeners,values", 2),
        (("downloads", "--by", "app"), "key,downloads,downloads_strict,values,share", 4),
        (("podcasts",), "podcast_id,title,podcast_guid,verified,episodes,created_at,", 5),
        (("episodes", "--podcast", "show 3"), "episode_id,title,published_at,starts_at,downloads_1d,", 2),
        (("explain", "--podcast", "show 3"), "verdict,hits,downloads,evidence", 2),
        (("links", "--all"), "link_id,slug,url,target,click_id,clicks,bots,created_at,utm_source,utm_medium,", 2),
    ],
)
def test_csv_has_a_line_a_row(argv: tuple[str, ...], fields: str, rows: int) -> None:
    code, out, _ = run(*argv, "--csv")
    head, *lines = list(csv.reader(io.StringIO(out)))
    assert code == 0
    assert ",".join(head).startswith(fields)
    assert [len(line) for line in lines] == [len(head)] * rows


def test_csv_runs_nothing_in_a_spreadsheet() -> None:
    _, out, _ = run("downloads", "--by", "app", "--csv")
    assert "'=HYPERLINK(1),5,5,," in out


def test_episodes_explanations_and_links_are_shown() -> None:
    _, out, _ = run("episodes", "--podcast", "show 3", "--limit", "1")
    assert out.splitlines()[3].split() == ["2026-11-02", "The", "moat", "1,234", "-", "-", str(UUID(int=0))]
    assert len(out.splitlines()) == 6
    api = API()
    _, out, _ = run("explain", "--podcast", "show 3", "--episode", "MOAT", "--day", "2026-11-24", api=api)
    assert out.startswith("The moat · every hit of 2026-11-24 (UTC)\n")
    assert "hits: 1,200, of them 1,000 eligible and 200 that do not count" in out
    assert "eligible: 1,000, of them 900 downloads, 98 repeats and 2 left out" in out
    assert dict(api.asked[-1].url.params) == {"episode_id": str(UUID(int=0)), "day": "2026-11-24"}
    _, out, _ = run("links")
    assert [line.split()[:3] for line in out.splitlines()[3:]] == [["/go/offer", "7", "1"]]
    _, out, _ = run("links", "--all")
    assert "/go/gone" in out


@pytest.mark.parametrize("name", ["SHOW 3", "w 3", str(UUID(int=3)), str(UUID(int=103)).upper()])
def test_podcasts_are_named_by_id_guid_or_a_part_of_the_title(name: str) -> None:
    api = API()
    assert run("downloads", "--podcast", name, api=api)[0] == 0
    assert api.asked[-1].url.params["podcast_id"] == str(UUID(int=3))


def test_a_whole_title_wins_over_a_part() -> None:
    api = API(podcasts={"data": [{**PODCASTS[1], "title": "Show"}, *PODCASTS]})
    assert run("downloads", "--podcast", "show", api=api)[0] == 0
    assert api.asked[-1].url.params["podcast_id"] == PODCASTS[1]["podcast_id"]


def test_the_only_podcast_need_not_be_named() -> None:
    assert run("episodes", api=API(podcasts={"data": PODCASTS[:1]}))[0] == 0


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("downloads", "--podcast", "show"), f"“show” names 5 podcasts: “Show 0” ({UUID(int=0)}), "),
        (("downloads", "--podcast", "moat"), "no podcast is named “moat”: there are “Show 0”, “Show 1”, "),
        (("episodes",), "name one with --podcast: there are “Show 0”, "),
        (("downloads", "--podcast", "show 3", "--episode", "mote"), "no episode is named “mote”: there are “The moat”"),
    ],
)  # fmt: skip
def test_what_is_not_clear_is_asked_for_in_one_line(argv: tuple[str, ...], says: str) -> None:
    code, out, err = run(*argv)
    assert (code, out) == (1, "")
    assert err.startswith(f"castledger: {says}")
    assert err.count("\n") == 1


def test_a_refusal_is_one_line_and_1() -> None:
    api = API(podcasts=problem(401, "unauthorized", detail="This key is\nnot good."))
    code, out, err = run("podcasts", api=api)
    assert (code, out, err) == (1, "", "castledger: 401 unauthorized: This key is not good. (request r-1)\n")


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ((), "the following arguments are required: COMMAND"),
        (("downloads", "--from", "2026-13-01"), "argument --from: '2026-13-01' is no date such as 2026-11-01"),
        (("downloads", "--to", "2026-11-01T10:00"), "argument --to: '2026-11-01T10:00' has no offset"),
        (("downloads", "--by", "shoe_size"), "argument --by: invalid choice: 'shoe_size'"),
        (("downloads", "--limit", "0"), "argument --limit: '0' is no whole number from 1 to 100"),
        (("downloads", "--json", "--csv"), "not allowed with argument"),
        (("explain", "--day", "2026-11-01T10:00Z"), "argument --day: '2026-11-01T10:00Z' is no day such as 2026-11-01"),
    ],
)
def test_misuse_ends_with_2_and_says_what_is_wrong(
    argv: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(*argv)
    assert ended.value.code == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("command", ["downloads", "podcasts", "episodes", "explain", "links"])
def test_help_teaches_with_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(command, "--help")
    assert ended.value.code == 0
    assert f"examples:\n  python -m castledger {command}" in capsys.readouterr().out


def test_what_others_wrote_does_not_command_the_terminal() -> None:
    for argv in (("episodes", "--podcast", "show 3"), ("podcasts",)):
        _, out, _ = run(*argv)
        assert not any(unicodedata.category(char) == "Cc" for char in out.replace("\n", ""))
    _, _, err = run("downloads", "--podcast", "show 3", "--episode", "mote")
    assert "drawbridge" in err
    assert "\x1b" not in err


def test_a_terminal_without_blocks_gets_ascii() -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    assert main(["downloads"], connect=lambda _: Castledger(KEY, transport=httpx.MockTransport(API())), out=out) == 0
    out.seek(0)
    assert "#" * 40 in out.read()


@pytest.mark.parametrize("form", ["--json", "--csv"])
def test_what_programs_read_is_utf_8_everywhere(form: str) -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    transport = httpx.MockTransport(API())
    argv = ["episodes", "--podcast", "show 3", form]
    assert main(argv, connect=lambda _: Castledger(KEY, transport=transport), out=out) == 0
    assert "塔" in raw.getvalue().decode()


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environ", "has_colour"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({"NO_COLOR": ""}, True)],
)
def test_colours_are_a_terminals_and_can_be_declined(environ: dict[str, str], has_colour: bool) -> None:
    assert Terminal.of(_Terminal(), environ).has_colour is has_colour
    assert not Terminal.of(io.StringIO(), environ).has_colour
    assert Terminal.of(io.StringIO(), {"COLUMNS": "72"}).width == 72
    assert Terminal.of(io.StringIO(), {"COLUMNS": "many"}).width == 100


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


names = st.text(st.characters(categories=["L", "N", "P", "Zs", "Cc"]), max_size=80)


@given(st.lists(st.tuples(names, st.integers(0, 10**9), names), min_size=1, max_size=8), st.integers(60, 200))
def test_a_table_is_as_wide_as_the_terminal_at_most(rows: list[tuple[str, int, str]], width: int) -> None:
    cells: list[list[str | int | None]] = [[one, number, other, number] for one, number, other in rows]
    flags = [False, False, False, True]
    lines = Terminal(width).table(["a", "b", "c", ""], cells, bars=flags, wholes=[False] * 4)
    assert len(lines) == len(rows) + 1
    assert all(_columns(line) <= width for line in lines)
    assert all(line.isprintable() for line in lines)


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(4, 100), st.booleans())
def test_a_longer_bar_is_never_a_smaller_number(one: int, other: int, room: int, has_blocks: bool) -> None:
    least, most = sorted((one, other))
    terminal = Terminal(80, has_blocks)
    short, long = terminal.bar(least, most, room), terminal.bar(most, most, room)
    assert len(short) <= len(long) <= room
    assert bool(short) is (least > 0)
    assert not most or long == long[0] * room


def test_it_runs_as_a_module_and_without_a_key_says_where_to_get_one() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "castledger", "podcasts"], check=False, capture_output=True, text=True, env=ENVIRON
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("castledger: api_key: is missing; pass the key that `castledger up` printed")


def test_a_reader_that_has_seen_enough_is_no_error(twin: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    environ = {**ENVIRON, "CASTLEDGER_API_KEY": KEY, "CASTLEDGER_API_URL": twin}
    command = [sys.executable, "-m", "castledger", "podcasts", "--json"]
    done = subprocess.run(command, check=False, stdout=writer, stderr=subprocess.PIPE, text=True, env=environ)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_it_reads_the_real_api(installation: Installation) -> None:
    environ = {**ENVIRON, "CASTLEDGER_API_KEY": installation.api_key, "CASTLEDGER_API_URL": installation.api_url}
    for command in (["podcasts"], ["downloads"], ["downloads", "--by", "episode"], ["links", "--csv"]):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "castledger", *command],
            check=False, capture_output=True, text=True, env=environ,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), command
        assert done.stdout
