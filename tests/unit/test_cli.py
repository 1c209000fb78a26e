"""The command line: what it takes, what it refuses in one clear line, and what it sends to the API."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest

from analytics_core.agent_lists import LIST_FILES
from analytics_core.campaigns import Model, Position
from analytics_core.conversions import ActionCategory, Counting
from analytics_core.errors import ConfigError
from castledger_server import argument_kinds
from castledger_server.api_access import Api, ApiRefusal, find_api
from castledger_server.cli import main
from castledger_server.commands import classify_lines, find_public_url
from castledger_server.data_dir import RunningUp, read_running_up, write_running_up
from castledger_server.probes import answers, listens

_FEED = b"""<?xml version="1.0"?>
<rss xmlns:podcast="https://podcastindex.org/namespace/1.0"><channel><title>Ours</title>
<podcast:guid>917393e3-1b1e-5cef-ace4-edaa54e1f810</podcast:guid>
<item><title>One</title><guid>1</guid>
<enclosure url="https://cdn.example.com/1.mp3?a=1&amp;b=2" length="1" type="audio/mpeg"/></item>
</channel></rss>"""


class _Asked(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class _Answering(NamedTuple):
    url: str
    asked: list[_Asked]


@contextlib.contextmanager
def _answering(status: int, answer: object) -> Iterator[_Answering]:
    """Answer every request over real HTTP with the same JSON, or what is made of its path; note what was asked."""
    asked: list[_Asked] = []

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked.append(_Asked(self.command, self.path, dict(self.headers.items()), body))
            sent = json.dumps(answer(self.path) if callable(answer) else answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        do_GET = do_POST = _answer  # noqa: N815 - the base class names them

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the base class names it
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield _Answering(f"http://127.0.0.1:{server.server_port}", asked)
        finally:
            server.shutdown()
            thread.join()


def _running(**changes: Any) -> RunningUp:
    values: dict[str, Any] = {
        "pid": os.getpid(),
        "database_url": "",
        "answers": {
            "tracker_url": "http://127.0.0.1:1",
            "prefix": "https://pod.example.com/e,pg={guid}/",
            "api_url": "http://127.0.0.1:2",
            "api_key": "cl_live_x",
        },
        "admin_urls": {},
        "children": {},
    }
    return RunningUp(**(values | changes))


def test_a_list_is_read_to_its_end_a_page_at_a_time() -> None:
    def page(path: str) -> object:
        (at,) = parse_qs(urlsplit(path).query).get("cursor", ["0"])
        return {"data": [int(at), int(at) + 1], "next_cursor": str(int(at) + 2) if at != "4" else None}

    with _answering(200, page) as there:
        assert list(Api(there.url, "key").get_all("/things", int, of="x")) == [0, 1, 2, 3, 4, 5]
    assert [parse_qs(urlsplit(asked.path).query) for asked in there.asked] == [
        {"of": ["x"], "limit": ["200"], **cursor} for cursor in ({}, {"cursor": ["2"]}, {"cursor": ["4"]})
    ]


def test_what_there_is_to_choose_from_is_what_the_rules_have() -> None:
    assert tuple(Model) == argument_kinds.MODELS
    assert tuple(Position) == argument_kinds.POSITIONS
    assert tuple(ActionCategory) == argument_kinds.CATEGORIES
    assert tuple(Counting) == argument_kinds.COUNTINGS


def test_help_names_every_command_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    said = capsys.readouterr().out
    services = ("tracker", "collector", "ingest", "api", "migrate")
    ours = (
        "up",
        "doctor",
        "podcast",
        "feed",
        "classify",
        "explain",
        "sponsors",
        "sponsor",
        "campaigns",
        "campaign",
        "report",
    )
    for command in (*services, *ours):
        assert re.search(rf"\n    {command}\s", said)
    assert "castledger up --data-dir" in said


@pytest.mark.parametrize(
    "arguments",
    [[], ["nonsense"], ["up", "--tracker-port", "65536"], ["up", "--api-port", "x"], ["podcast"], ["explain", "--day"]],
)
def test_wrong_usage_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize("service", ["tracker", "ingest", "api", "migrate"])
def test_services_explain_their_own_arguments(service: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([service, "--help"])
    assert caught.value.code == 0
    assert "--help" in capsys.readouterr().out


def test_a_command_without_an_up_to_talk_to_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["podcast", "add", "feed.xml", "--data-dir", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "--data-dir" in said
    assert "--api-url" in said


def test_agents_are_classified_a_line_each_with_empty_ones_too() -> None:
    lines = [b"Overcast/3.0 (+http://overcast.fm/; iOS podcast app)\r\n", b"\n", b"\xff\xfe\n", b"curl/8.1"]
    rows = [json.loads(row) for row in classify_lines(lines)]
    assert [row["kind"] for row in rows] == ["app", "unknown", "unknown", "bot"]
    assert rows[0]["app"] == "Overcast"
    assert rows[1] == {"kind": "unknown", "app": "", "device": "unknown", "rule": "empty", "os": ""}


def test_classify_reads_standard_input_and_minds_no_closed_reader() -> None:
    command = [sys.executable, "-m", "castledger_server", "classify"]
    done = subprocess.run(command, input=b"curl/8.1\n\n", capture_output=True, check=True)
    assert [json.loads(line)["kind"] for line in done.stdout.splitlines()] == ["bot", "unknown"]
    closed = subprocess.run(
        ["sh", "-c", f"yes curl | head -100000 | {sys.executable} -m castledger_server classify | head -1"],
        capture_output=True,
        check=True,
    )
    assert closed.stderr == b""


def test_classify_asks_an_operators_lists_and_tells_damaged_ones(tmp_path: Path) -> None:
    for name in LIST_FILES:
        (tmp_path / name).write_text('{"entries": [{"name": "Earwig", "pattern": "^curl/"}]}')
    environ = {**os.environ, "CASTLEDGER_AGENT_LISTS": str(tmp_path), "CASTLEDGER_DATA_DIR": str(tmp_path / "data")}
    command = [sys.executable, "-m", "castledger_server", "classify"]
    done = subprocess.run(command, input=b"curl/8.1\n", capture_output=True, check=True, env=environ)
    assert json.loads(done.stdout) == {
        "kind": "bot",
        "app": "Earwig",
        "device": "unknown",
        "rule": "bots: Earwig",
        "os": "",
    }
    assert done.stderr == b""
    (tmp_path / "browsers.runtime.json").write_text('{"entries": [')
    done = subprocess.run(command, input=b"curl/8.1\n", capture_output=True, check=True, env=environ)
    assert json.loads(done.stdout)["rule"] == "curl"
    assert b"browsers.runtime.json:1: it is no JSON" in done.stderr


def test_a_feeds_address_is_sent_and_the_next_step_told(capsys: pytest.CaptureFixture[str]) -> None:
    podcast = {
        "podcast_id": "0198f0c2-0000-7000-8000-000000000000",
        "title": "Ours",
        "episodes": 3,
        "prefix": "https://pod.example.com/e,pg=917393e3-1b1e-5cef-ace4-edaa54e1f810/",
        "warnings": ["something is off"],
    }
    with _answering(201, podcast) as api:
        arguments = ["podcast", "add", "https://example.com/feed", "--api-url", api.url, "--api-key", "cl_live_k"]
        assert main(arguments) == 0
    [asked] = api.asked
    assert (asked.method, asked.path) == ("POST", "/api/v1/podcasts")
    assert asked.headers["Authorization"] == "Bearer cl_live_k"
    assert json.loads(asked.body) == {"feed_url": "https://example.com/feed"}
    said = capsys.readouterr().out
    assert "title: Ours\nepisodes: 3\nprefix: https://pod.example.com/e,pg=" in said
    assert "warning: something is off" in said
    assert "castledger feed rewrite https://example.com/feed" in said


def test_a_file_is_sent_as_the_feed_that_it_is(tmp_path: Path) -> None:
    (tmp_path / "feed.xml").write_bytes(_FEED)
    with _answering(201, {"podcast_id": "x", "title": "Ours", "episodes": 1}) as api:
        arguments = ["podcast", "add", str(tmp_path / "feed.xml"), "--api-url", api.url, "--api-key", "k"]
        assert main(arguments) == 0
    [asked] = api.asked
    assert asked.headers["Content-Type"] == "application/rss+xml"
    assert asked.body == _FEED


def test_a_missing_file_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["podcast", "add", str(tmp_path / "absent"), "--api-url", "http://127.0.0.1:1", "--api-key", "k"]) == 2
    assert capsys.readouterr().err == f"castledger: feed_url: {tmp_path / 'absent'}: No such file or directory\n"


def test_what_the_api_refuses_is_told_with_its_code_and_request() -> None:
    problem = {
        "title": "Unprocessable",
        "detail": "the feed cannot be used",
        "code": "invalid",
        "request_id": "r-1",
        "errors": [{"pointer": "/feed_url", "code": "not_a_feed", "message": "this is no feed"}],
    }
    with _answering(422, problem) as api, pytest.raises(ApiRefusal) as caught:
        Api(api.url, "k").post("/podcasts", b"{}", media_type="application/json")
    assert str(caught.value) == "the feed cannot be used; /feed_url: this is no feed (invalid, request r-1)"


def test_an_api_that_does_not_answer_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["explain", "--episode", "x", "--day", "2026-11-23", "--api-url", "http://127.0.0.1:1"]
    assert main([*arguments, "--api-key", "k"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("castledger: the API at http://127.0.0.1:1 does not answer")
    assert said.count("\n") == 1


def test_explain_shows_a_row_a_verdict_and_their_sum(capsys: pytest.CaptureFixture[str]) -> None:
    explanation = {
        "day": "2026-11-23",
        "hits": 12345,
        "downloads": 9000,
        "downloads_strict": 8999,
        "repeats": 1000,
        "verdicts": [
            {"verdict": "eligible", "evidence": "full", "hits": 10000, "downloads": 9000},
            {"verdict": "bot", "evidence": None, "hits": 2345, "downloads": 0},
        ],
        "cutoff": None,
        "profile": "castledger-1",
        "rules": "r1",
        "partial": True,
        "state": "live",
    }
    with _answering(200, explanation) as api:
        arguments = ["explain", "--episode", "e-1", "--day", "2026-11-23", "--api-url", api.url, "--api-key", "k"]
        assert main(arguments) == 0
    assert api.asked[0].path == "/api/v1/analytics/explain?episode_id=e-1&day=2026-11-23"
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["eligible", "full", "10,000", "9,000"] in rows
    assert ["bot", "2,345", "0"] in rows
    assert ["all", "12,345", "9,000"] in rows
    gone = {**explanation, "hits": None, "repeats": None, "verdicts": [], "partial": False, "state": "final"}
    with _answering(200, gone) as api:
        assert main(["explain", "--episode", "e-1", "--api-url", api.url, "--api-key", "k"]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == [
        "hits of 2026-11-23 (UTC) are not kept any more",
        "9,000 downloads were counted, strictly 8,999",
    ]


def test_compare_shows_a_column_a_profile_and_why_they_differ(capsys: pytest.CaptureFixture[str]) -> None:
    reason = {
        "counted_by": "castledger-1",
        "reason": "probe",
        "why": "For op3 the request was too small.",
        "downloads": 1234,
        "hits": ["h_1-1", "h_1-2", "h_1-3", "h_1-4"],
    }
    comparison = {
        "profiles": [
            {"profile": "castledger-1", "downloads": 12345, "differences": []},
            {"profile": "op3", "downloads": 11111, "differences": ["OP3 keeps other addresses."]},
        ],
        "data": [
            {"day": "2026-11-01", "downloads": {"castledger-1": 12345, "op3": 11111}},
            {"day": "2026-11-02", "downloads": None},
        ],
        "pairs": [
            {"one": "castledger-1", "other": "op3", "difference": 1234, "reasons": [reason]},
            {"one": "castledger-1", "other": "alike", "difference": 0, "reasons": []},
        ],
        "state": "final",
        "partial": False,
    }
    with _answering(200, comparison) as api:
        given = ["--from", "2026-11-01", "--to", "2026-11-03", "--profiles", "castledger-1,op3"]
        assert main(["compare", "e-1", *given, "--api-url", api.url, "--api-key", "k"]) == 0
        assert main(["compare", "e-1", "--api-url", api.url, "--api-key", "k"]) == 0
    query = "episode_id=e-1&from=2026-11-01&to=2026-11-03&profiles=castledger-1%2Cop3"
    assert [asked.path for asked in api.asked] == [
        f"/api/v1/analytics/compare?{query}",
        "/api/v1/analytics/compare?episode_id=e-1",
    ]
    said = capsys.readouterr().out
    rows = [line.split() for line in said.splitlines()]
    assert ["day", "(UTC)", "castledger-1", "op3"] in rows
    assert ["2026-11-01", "12,345", "11,111"] in rows
    assert ["2026-11-02", "-", "-"] in rows
    assert ["all", "12,345", "11,111"] in rows
    assert "castledger-1 against op3: +1,234\n" in said
    assert "1,234 in castledger-1 alone. For op3 the request was too small. (h_1-1, h_1-2, h_1-3, …)\n" in said
    assert "alike" not in said
    assert "where op3 may differ from what it stands for:\n  OP3 keeps other addresses.\n" in said


@pytest.mark.parametrize(
    ("podcasts", "says"),
    [
        ([], "there is no podcast yet; add one with `castledger podcast add`"),
        ([("p-1", "One"), ("p-2", "Two")], "say which with --podcast ID:\n  p-1  One\n  p-2  Two"),
    ],
)
def test_explain_needs_to_be_told_the_podcast_unless_there_is_one(
    podcasts: list[tuple[str, str]], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = [{"podcast_id": podcast_id, "title": title} for podcast_id, title in podcasts]
    with _answering(200, {"data": listed, "next_cursor": None}) as api:
        assert main(["explain", "--api-url", api.url, "--api-key", "k"]) == 2
    assert [asked.path for asked in api.asked] == ["/api/v1/podcasts?limit=10"]
    assert says in capsys.readouterr().err


def test_up_refuses_own_profiles_that_cannot_be_used_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "profiles.toml"
    path.write_text('[profiles.house]\nbase = "op3"\nsecs = 3\n')
    monkeypatch.setenv("CASTLEDGER_PROFILES", str(path))
    assert main(["up", "--data-dir", str(tmp_path / "ledger")]) == 2
    assert f"{path}: profiles.house.secs: there is no such key; is seconds meant?" in capsys.readouterr().err
    assert not (tmp_path / "ledger").exists()


def test_a_feed_is_rewritten_and_nothing_else_of_it(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    (tmp_path / "feed.xml").write_bytes(_FEED)
    arguments = ["feed", "rewrite", str(tmp_path / "feed.xml"), "--public-url", "https://pod.example.com/"]
    assert main(arguments) == 0
    said = capsysbinary.readouterr().out
    prefix = b"https://pod.example.com/e,pg=917393e3-1b1e-5cef-ace4-edaa54e1f810/"
    assert said == _FEED.replace(b"https://cdn.example.com/1.mp3", prefix + b"cdn.example.com/1.mp3")
    assert main([*arguments, "--output", str(tmp_path / "out.xml")]) == 0
    assert (tmp_path / "out.xml").read_bytes() == said


def test_a_rewrite_needs_the_trackers_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--public-url"):
        find_public_url(None, "", tmp_path)
    write_running_up(tmp_path, _running())
    assert find_public_url(None, "", tmp_path) == "https://pod.example.com"
    assert find_public_url(None, "https://configured.example.com", tmp_path) == "https://configured.example.com"
    assert find_public_url("https://given.example.com/", "https://configured.example.com", tmp_path) == (
        "https://given.example.com"
    )


@pytest.mark.parametrize("action", ["rewrite", "check"])
@pytest.mark.parametrize("url", ["pod.example.com", "https://[", "ftp://pod.example.com", "https://pod.example.com?x"])
def test_a_trackers_name_that_is_none_is_refused(action: str, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["feed", action, "feed.xml", "--public-url", url]) == 2
    assert "is not an address such as https://pod.example.com" in capsys.readouterr().err


def test_what_is_no_feed_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "page.html").write_text("<html></html>")
    assert main(["feed", "rewrite", str(tmp_path / "page.html"), "--public-url", "https://pod.example.com"]) == 2
    assert "this is no feed" in capsys.readouterr().err


def test_a_command_that_asks_too_fast_waits_as_long_as_it_is_told() -> None:
    answers = [(429, "rate_limited"), (429, "rate_limited"), (200, "ok"), (429, "too_soon")]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, code = answers.pop(0)
            body = json.dumps({"code": code}).encode()
            self.send_response(status)
            self.send_header("Retry-After", "1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the base class names it
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            api = Api(f"http://127.0.0.1:{server.server_port}", "key")
            assert api.get("/x", {}) == b'{"code": "ok"}'
            assert len(answers) == 1
            # What may be asked for once a minute is told, not waited for.
            with pytest.raises(ApiRefusal, match="too_soon"):
                api.get("/x", {})
        finally:
            server.shutdown()
            thread.join()


def test_the_api_is_found_by_option_environment_and_running_up(tmp_path: Path) -> None:
    named = {"CASTLEDGER_API_URL": "http://named:1", "CASTLEDGER_API_KEY": "named"}
    with _answering(200, {}) as api:
        find_api(api.url, "given", named, data_dir=tmp_path).get("/x", {})
        find_api(None, None, named | {"CASTLEDGER_API_URL": api.url}, data_dir=tmp_path).get("/x", {})
        write_running_up(tmp_path, _running(answers={"api_url": api.url, "api_key": "running"}))
        find_api(None, None, {}, data_dir=tmp_path).get("/x", {})
        find_api(None, "given", {}, data_dir=tmp_path).get("/x", {})
    assert [asked.headers["Authorization"].split()[1] for asked in api.asked] == ["given", "named", "running", "given"]


def test_our_key_never_goes_to_an_address_that_was_typed(tmp_path: Path) -> None:
    write_running_up(tmp_path, _running())
    with pytest.raises(ConfigError, match="a key for http://elsewhere is missing"):
        find_api("http://elsewhere", None, {}, data_dir=tmp_path)


def test_an_up_that_was_killed_or_still_starts_is_not_talked_to(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as ended:
        pass
    write_running_up(tmp_path, _running(pid=ended.pid))
    with pytest.raises(ConfigError, match="no `castledger up`"):
        find_api(None, None, {}, data_dir=tmp_path)
    write_running_up(tmp_path, _running(answers={}))
    with pytest.raises(ConfigError, match="still starting"):
        find_api(None, None, {}, data_dir=tmp_path)


def test_what_a_running_up_says_is_for_its_owner_only(tmp_path: Path) -> None:
    write_running_up(tmp_path, _running(children={7: "12"}))
    assert (tmp_path / "up.json").stat().st_mode & 0o777 == 0o600
    assert read_running_up(tmp_path) == _running(children={7: "12"})
    write_running_up(tmp_path, None)
    assert read_running_up(tmp_path) is None
    (tmp_path / "up.json").write_text("{half")
    assert read_running_up(tmp_path) is None


def test_only_a_200_is_an_answer() -> None:
    with _answering(200, {}) as api:
        assert asyncio.run(answers(f"{api.url}/robots.txt"))
    assert [asked.path for asked in api.asked] == ["/robots.txt"]
    assert not asyncio.run(answers(f"{api.url}/robots.txt"))
    with _answering(503, {}) as api:
        assert not asyncio.run(answers(f"{api.url}/robots.txt"))


def test_a_database_is_waited_for_where_its_address_says(tmp_path: Path) -> None:
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as unix:
        tcp.bind(("127.0.0.1", 0))
        unix.bind(str(tmp_path / ".s.PGSQL.6000"))
        port = tcp.getsockname()[1]
        addresses = (f"postgresql://u:p@127.0.0.1:{port}/d", f"postgresql://u:p@/d?host={tmp_path}&port=6000")
        assert [asyncio.run(listens(address)) for address in addresses] == [False, False]
        tcp.listen()
        unix.listen()
        assert [asyncio.run(listens(address)) for address in addresses] == [True, True]
    # What only the driver can read, it will judge.
    assert asyncio.run(listens("postgresql://u:p@one:1,two:2/d"))
