"""Vectors: what others and we say that has to come out, as data files with their sources."""

from __future__ import annotations

import datetime as dt
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from analytics_core.addresses import pack_address
from analytics_core.agent_table import classify
from analytics_core.byte_ranges import parse_range
from analytics_core.comparing import Comparison, StoredHit
from analytics_core.evidence import evidence_of
from analytics_core.feeds import compute_guid
from analytics_core.hits import Method
from analytics_core.judging import HitFacts, judge
from analytics_core.listeners import early_key
from analytics_core.playlists import is_playlist
from analytics_core.profiles import PROFILES, Profile
from analytics_core.rejudging import StoredFacts
from analytics_core.user_agents import AgentKind
from analytics_core.verdicts import Evidence
from analytics_core.windows import Window, touch
from tests.factories import micros

FOLDER = Path(__file__).parents[1] / "vectors"
NOON = micros(dt.datetime(2026, 11, 2, 12, tzinfo=dt.UTC))


def vectors(name: str) -> list[Any]:
    """Read a file's vectors as parameters, each called by its source."""
    read = tomllib.loads((FOLDER / f"{name}.toml").read_text("utf-8"))["vector"]
    return [pytest.param(vector, id=vector["source"].partition(":")[0] + f" {at}") for at, vector in enumerate(read)]


def count(profile: Profile, hits: Iterable[StoredHit], *, length: int | None, duration: int | None) -> int:
    comparison = Comparison([profile], length_bytes=length, duration_s=duration, start=dt.date(2026, 11, 2), days=1)
    comparison.add(hits)
    comparison.finish()
    return sum(comparison.downloads[0])


def landed(
    place: int, *, agent: str = "AntennaPod/3.4.0", byte_range: str = "", length: int | None, duration: int | None
) -> StoredHit:
    """Make a hit as it is stored: judged by the default profile as it landed."""
    asked = parse_range(byte_range)
    kind = classify(agent).kind
    bits = judge(HitFacts(agent_kind=kind, tiny=evidence_of(asked, length, duration)[1]))
    return StoredHit(NOON + place, 1, place, agent, StoredFacts(bits, *asked, kind, 0, ""))


@pytest.mark.parametrize("vector", vectors("windows"))
@pytest.mark.parametrize("window", Window)
def test_windows(vector: dict[str, Any], window: Window) -> None:
    found, mark = [], None
    for text in vector["at"]:
        opens, mark = touch(window, micros(dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)), mark)
        found.append(int(opens))
    assert found == vector[window.value]


@pytest.mark.parametrize("vector", vectors("ranges"))
def test_ranges(vector: dict[str, Any]) -> None:
    length, duration = vector.get("length"), vector.get("duration")
    weighed = [evidence_of(parse_range(text), length, duration) for text in vector["ranges"]]
    assert [evidence.label if evidence is not Evidence.NONE else "" for evidence, _ in weighed] == vector["evidence"]
    assert [is_tiny for _, is_tiny in weighed] == [not text for text in vector["evidence"]]
    hits = [
        landed(place, byte_range=text, length=length, duration=duration) for place, text in enumerate(vector["ranges"])
    ]
    assert {
        name: count(PROFILES[name], hits, length=length, duration=duration) for name in vector["downloads"]
    } == vector["downloads"]


@pytest.mark.parametrize("vector", vectors("playlists"))
def test_playlists(vector: dict[str, Any]) -> None:
    length, duration = 28_800_000, 1800
    hits, evidence = [], []
    for place, request in enumerate(vector["requests"]):
        asked = parse_range(request.get("range", ""))
        playlist = is_playlist(request["file"])
        found, is_tiny = evidence_of(asked, length, duration, is_playlist=playlist)
        bits = judge(HitFacts(method=Method[request.get("method", "GET")], tiny=is_tiny))
        evidence.append("" if bits else found.label)
        hits.append(
            StoredHit(NOON + place, 1, place, "somebody", StoredFacts(bits, *asked, AgentKind.APP, 0, "", playlist))
        )
    assert evidence == vector["evidence"]
    assert {
        name: count(PROFILES[name], hits, length=length, duration=duration) for name in vector["downloads"]
    } == vector["downloads"]


@pytest.mark.parametrize("vector", vectors("agents"))
@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_agents(vector: dict[str, Any], profile: Profile) -> None:
    hits = [landed(place, agent=agent, length=None, duration=None) for place, agent in enumerate(vector["agents"])]
    assert count(profile, hits, length=None, duration=None) == vector["downloads"]


@pytest.mark.parametrize("vector", vectors("addresses"))
def test_addresses(vector: dict[str, Any]) -> None:
    keys = {early_key(pack_address(address), b"AntennaPod/3.4.0", bytes(32)) for address in vector["addresses"]}
    assert len(keys) == vector["listeners"]


@pytest.mark.parametrize("vector", vectors("guids"))
def test_guids(vector: dict[str, Any]) -> None:
    assert compute_guid(vector["feed_url"]) == UUID(vector["guid"])


def test_every_vector_names_its_source() -> None:
    for path in FOLDER.glob("*.toml"):
        for vector in tomllib.loads(path.read_text("utf-8"))["vector"]:
            assert vector["source"].strip()
