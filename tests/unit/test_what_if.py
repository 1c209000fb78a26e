"""Requests that nobody has sent, judged as they would be had they been."""

from __future__ import annotations

import datetime as dt
import json
import re
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.agent_table import our_table
from analytics_core.byte_ranges import parse_range
from analytics_core.evidence import evidence_of
from analytics_core.hits import Method
from analytics_core.network_classes import NetworkClass
from analytics_core.profiles import PROFILES
from analytics_core.verdicts import Verdict
from api.pages.rules import EpisodeFacts, Outcome
from api.what_if import AskedRequest, Placed, what_if
from castledger_server.cli import main

AT = dt.datetime(2026, 11, 23, 10, tzinfo=dt.UTC)
EPISODE = EpisodeFacts("Rooks", AT - dt.timedelta(days=9), False, 28_800_000, 1800)
OVERCAST = "Overcast/3.0 (+http://overcast.fm/; iOS podcast app)"
APPLE = "AppleCoreMedia/1.0.0.20G75 (iPhone; U; CPU OS 16_6 like Mac OS X; en_us)"
URL = "https://pod.example.org/e,pg=917393e3-1b1e-5cef-ace4-edaa54e1f810/cdn.example.com/ep.mp3"


def asked(**changes: object) -> AskedRequest:
    return AskedRequest(**{"agent": OVERCAST, "at": AT, "episode": EPISODE, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("request_", "verdicts"),
    [
        (asked(), ["eligible"]),
        (asked(method=Method.HEAD), ["head"]),
        (asked(episode=None), ["unknown_episode"]),
        (asked(episode=None, is_assumed=True), ["eligible"]),
        (asked(at=AT - dt.timedelta(days=10)), ["unpublished"]),
        (asked(agent=""), ["no_user_agent"]),
        (asked(agent="Googlebot/2.1", byte_range="bytes=0-9"), ["bot", "tiny_range"]),
        (asked(place=Placed(NetworkClass.DATACENTER, 64496, "US", "x")), ["datacenter"]),
        (asked(place=Placed(NetworkClass.RELAY, 0, "US", "x")), ["eligible"]),
        (asked(place=Placed(NetworkClass.DATACENTER | NetworkClass.SHARED, 0, "US", "x")), ["eligible"]),
        (asked(byte_range="bytes=0-9", is_playlist=True), ["eligible"]),
        (asked(byte_range="bytes=0-1259998"), ["tiny_range"]),
        (asked(byte_range="bytes=0-1259999"), ["eligible"]),
    ],
)
def test_what_speaks_against_a_request_is_found(request_: AskedRequest, verdicts: list[str]) -> None:
    found = what_if(request_, our_table())
    assert (found.verdict, found.verdicts) == (verdicts[0], [name for name in verdicts if name != "eligible"])
    deciding = [step.name for step in found.steps if step.outcome is Outcome.DECIDES]
    assert deciding == [name for name in verdicts[:1] if name != "eligible"]
    assert [step.name for step in found.steps[:-2]] == [verdict.label for verdict in Verdict if verdict]


@given(
    st.sampled_from(["", "bytes=0-", "bytes=0-1", "bytes=5-", "bytes=0-1259999", "bytes=-9", "junk"]),
    st.sampled_from([OVERCAST, "", "Googlebot/2.1", "curl/8.5.0"]),
    st.sampled_from(list(Method)),
    st.one_of(st.none(), st.integers(0, 10**9)),
    st.one_of(st.none(), st.integers(0, 10**5)),
)
def test_it_counts_exactly_where_its_profile_says_so_and_its_evidence_is_that_of_a_hit(
    byte_range: str, agent: str, method: Method, length: int | None, duration: int | None
) -> None:
    episode = EpisodeFacts("Rooks", None, False, length, duration)
    found = what_if(
        asked(byte_range=byte_range, agent=agent, method=method, episode=episode),
        our_table(),
        profiles=list(PROFILES.values()),
    )
    said = {answer.profile: answer.counts for answer in found.profiles}
    assert said["castledger-1"] == found.counts >= said["ptmg-2.3"]
    evidence, tiny = evidence_of(parse_range(byte_range), length, duration)
    assert found.evidence == (evidence.label if found.counts else None)
    assert ("tiny_range" in found.verdicts) == tiny
    assert found.counts == (found.steps[-1].outcome is Outcome.COUNTS)


class Command:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def run(self, *arguments: str) -> tuple[int, str, str]:
        code = main(["explain", "--at", "2026-11-23T10:00:00Z", *arguments])
        said = self._capsys.readouterr()
        return code, said.out, said.err


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("CASTLEDGER_DATA_DIR", str(tmp_path))
    return Command(capsys)


def test_without_any_installation_a_request_is_explained(command: Command) -> None:
    code, out, err = command.run("--url", URL, "--user-agent", APPLE, "--range", "bytes=0-1")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[:6] == [
        "nothing was sent, and nothing is recorded",
        "a tracker would answer 302, to https://cdn.example.com/ep.mp3",
        "  The host cdn.example.com is not known here, but the path ends as media does (TRACKER_HOSTS=media).",
        "the hit would count by castledger-1, evidence probe",
        "  castledger-1  counts",
        "  ptmg-2.3      does not count: tiny_range",
    ]
    assert "a minute of sound: 1,260,000 bytes (the default, since the file's length and duration are not known)" in out
    assert "It is taken for an episode's: there is no ledger here to ask." in out


def test_the_methodology_pages_example_is_answered_as_it_says(command: Command) -> None:
    page = (Path(__file__).parents[2] / "docs" / "methodology.md").read_text()
    example, answer = re.findall(r"```(?:sh|text)\n(.*?)```", page.partition("## By hand")[2], re.DOTALL)[:2]
    arguments = shlex.split(example.replace("\\\n", " "))
    assert arguments[:2] == ["castledger", "explain"]
    assert command.run(*arguments[2:])[1].startswith(answer)


@pytest.mark.parametrize(
    ("arguments", "status", "why"),
    [
        (["--url", "https://pod.example.org/e/cdn.example.com/page.html"], 404, "does not know that host"),
        (["--url", "https://pod.example.org/e/localhost/a.mp3"], 400, "not a public name"),
        (["--url", URL, "--navigation"], 404, "for podcast players"),
        (["--url", URL, "--method", "post"], 405, "Only GET and HEAD"),
        (["--url", "/go/offer"], 404, "no such link"),
        (["--url", "/"], 404, "nothing here"),
    ],
)
def test_what_a_tracker_refuses_is_no_hit(command: Command, arguments: list[str], status: int, why: str) -> None:
    code, out, _ = command.run(*arguments, "--json")
    said = json.loads(out)
    assert (code, said["hit"], said["answer"]["status"], said["answer"]["recorded"]) == (0, None, status, False)
    assert why in said["answer"]["why"]
    assert "no hit would be recorded" in command.run(*arguments)[1]


def test_an_enclosures_own_address_and_lists_are_taken_too(command: Command, tmp_path: Path) -> None:
    lists = tmp_path / "lists"
    lists.mkdir(parents=True)
    (lists / "datacenter.txt").write_text("192.0.2.0/24\n")
    own = ["--url", "https://cdn.example.com/ep.mp3", "--user-agent", OVERCAST]
    said = json.loads(command.run(*own, "--address", "192.0.2.7", "--profile", "op3", "--json")[1])
    assert (said["hit"]["verdict"], said["hit"]["profiles"]) == (
        "datacenter",
        [{"profile": "op3", "verdict": "eligible", "counts": True}],
    )
    said = json.loads(command.run(*own, "--address", "198.51.100.7", "--json")[1])
    assert said["hit"]["counts"] is True
    said = json.loads(command.run("--url", "https://cdn.example.com/ep.m3u8", "--user-agent", OVERCAST, "--json")[1])
    assert (said["hit"]["evidence"], [one["counts"] for one in said["hit"]["profiles"]]) == ("probe", [True, False])


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--url", ""], "--url: is an address such as"),
        (["--url", "https://cdn.example.com/" + "x" * 9_000], "--url: is longer than the 8,192 bytes"),
        (["--url", URL, "--profile", "op4"], "--profile: there is no 'op4'; did you mean op3? There are castledger-1,"),
        (["--url", URL, "--address", "here"], "--address: "),
        (["--url", URL, "--at", "2026-11-23T10:00:00"], "--at: is a time with an offset"),
        (["--url", URL, "--user-agent", "a\nb"], "--user-agent: is a line of at most 8,192 bytes"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(command: Command, arguments: list[str], complaint: str) -> None:
    code, out, err = command.run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"castledger: {complaint}")
