"""A hit walked through the rules."""

from __future__ import annotations

import datetime as dt

import msgspec
import pytest

from analytics_core.byte_ranges import RangeKind
from analytics_core.db.explain import HitRow
from analytics_core.hits import HitFlag
from analytics_core.network_classes import NetworkClass
from analytics_core.verdicts import Evidence, Verdict
from api.pages.rules import VERDICT_WORDS, Outcome, explain_steps, range_words
from api.why import why

HIT = HitRow(
    occurred_at=dt.datetime(2026, 11, 23, 10, tzinfo=dt.UTC),
    segment_no=1,
    ordinal=2,
    podcast_id=None,
    episode_id=None,
    verdict_bits=0,
    verdict=0,
    evidence=int(Evidence.FULL),
    range_kind=int(RangeKind.NONE),
    range_first=-1,
    range_last=-1,
    method=0,
    flags=0,
    country=0,
    user_agent="Castaway/1.0",
    agent_kind=1,
    app="Castaway",
    device="phone",
    agent_rule="castaway",
    referrer="",
    os="",
    region="",
    city="",
    target=None,
    networks=0,
    winner_segment_no=1,
    winner_ordinal=2,
)


def test_every_rule_is_asked_in_the_order_in_which_it_decides() -> None:
    names = [step.name for step in explain_steps(HIT, None)]
    assert names == [verdict.label for verdict in Verdict if verdict] + ["evidence", "one a day"]
    assert set(VERDICT_WORDS) == {verdict.label for verdict in Verdict}


@pytest.mark.parametrize("verdict", [verdict for verdict in Verdict if verdict])
def test_the_first_rule_that_applies_decides_and_later_ones_only_apply(verdict: Verdict) -> None:
    bits = sum(other.bit for other in Verdict if other >= verdict)
    hit = msgspec.structs.replace(
        HIT, verdict_bits=bits, verdict=int(verdict), evidence=0, winner_segment_no=None, winner_ordinal=None
    )
    outcomes = {step.name: step.outcome for step in explain_steps(hit, None)}
    for other in Verdict:
        if other:
            expected = Outcome.PASSED if other < verdict else Outcome.DECIDES if other is verdict else Outcome.AGAINST
            assert outcomes[other.label] is expected
    assert outcomes["evidence"] is outcomes["one a day"] is Outcome.SKIPPED


def test_a_playlist_is_told_apart_from_a_file() -> None:
    hit = msgspec.structs.replace(HIT, evidence=int(Evidence.PROBE), flags=int(HitFlag.PLAYLIST))
    saw = {step.name: step.saw for step in explain_steps(hit, None)}
    assert "of a playlist: how much of one says nothing of minutes" in saw["tiny_range"]
    assert saw["evidence"].startswith("A playlist: somebody pressed play")
    assert "playlist" in why(hit)
    assert "two-byte" not in why(hit)
    two_bytes = msgspec.structs.replace(hit, flags=0)
    assert "two-byte" in why(two_bytes)


def test_shared_addresses_are_named_where_lists_of_machines_are_asked() -> None:
    hit = msgspec.structs.replace(HIT, networks=int(NetworkClass.SHARED | NetworkClass.DATACENTER))
    saw = {step.name: step.saw for step in explain_steps(hit, None)}
    for name in ("datacenter", "vpn"):
        assert "It is on the list of shared addresses" in saw[name]
    # What is blocked stays so.
    assert "shared" not in saw["blocked"]
    assert why(hit).endswith(" Its address is on the list of shared addresses.")
    assert "shared" not in why(HIT)


@pytest.mark.parametrize(
    ("changed", "outcome", "saw"),
    [
        ({}, Outcome.COUNTS, "Yes: it is the download of 2026-11-23."),
        ({"winner_ordinal": 9}, Outcome.REPEAT, "No: h_1-9 is the download of 2026-11-23."),
        ({"winner_segment_no": None, "winner_ordinal": None, "flags": int(HitFlag.LATE)}, Outcome.OPEN, "final"),
        ({"winner_segment_no": None, "winner_ordinal": None}, Outcome.OPEN, "no longer kept"),
    ],
)
def test_the_last_rule_tells_downloads_from_repeats(changed: dict[str, int | None], outcome: Outcome, saw: str) -> None:
    step = explain_steps(msgspec.structs.replace(HIT, **changed), None)[-1]
    assert step.outcome is outcome
    assert saw in step.saw


@pytest.mark.parametrize(
    ("kind", "first", "last", "words"),
    [
        (RangeKind.NONE, -1, -1, "the whole file: there was no Range"),
        (RangeKind.INVALID, -1, -1, "the whole file: its Range was none that can be read"),
        (RangeKind.OPEN, 0, -1, "the whole file: from its first byte on"),
        (RangeKind.OPEN, 5000, -1, "all from byte 5,000 on"),
        (RangeKind.CLOSED, 0, 1, "bytes 0 to 1, 2 in all"),
        (RangeKind.SUFFIX, -1, 128, "the last 128 bytes"),
        (RangeKind.MULTIPLE, 10, 1009, "several parts, 1,000 bytes together"),
    ],
)
def test_a_range_is_put_into_words(kind: RangeKind, first: int, last: int, words: str) -> None:
    hit = msgspec.structs.replace(HIT, range_kind=int(kind), range_first=first, range_last=last)
    assert range_words(hit) == words


def test_what_the_rules_of_a_day_do_not_mind_is_said_to_be_allowed() -> None:
    bits = Verdict.DATACENTER.bit | Verdict.TINY_RANGE.bit
    hit = msgspec.structs.replace(HIT, verdict_bits=bits, verdict=int(Verdict.TINY_RANGE), rules="house.2", evidence=0)
    steps = {step.name: step for step in explain_steps(hit, None)}
    assert steps["datacenter"].outcome is Outcome.ALLOWED
    assert steps["tiny_range"].outcome is Outcome.DECIDES
    assert "house.2" in steps["tiny_range"].saw
    counts = {step.name: step.outcome for step in explain_steps(msgspec.structs.replace(hit, verdict=0), None)}
    assert counts["tiny_range"] is Outcome.ALLOWED
