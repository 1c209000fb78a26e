"""Columns judged by the profile of their day, against the rules for one hit; and back, without a trace."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.db.hits import HIT_COLUMNS, HitColumns
from analytics_core.evidence import evidence_of
from analytics_core.hits import HitFlag
from analytics_core.network_classes import NetworkClass
from analytics_core.profiles import DEFAULT_PROFILE, ODL, OP3, PTMG_2_3, NetworkPolicy, Profile
from analytics_core.rejudging import FIRST_TWO_BYTES, Judge, StoredFacts
from analytics_core.user_agents import AgentKind
from analytics_core.verdicts import NO_VERDICT, Evidence, Verdict
from ingest.steps.profiles import ProfileFacts, by_default, judge_by
from tests.unit.ingest.test_recounts import CASES, Case, column, judged

HALF_A_MINUTE = msgspec.structs.replace(DEFAULT_PROFILE, name="half", seconds=30)
APPS_COUNT = msgspec.structs.replace(
    DEFAULT_PROFILE,
    name="apps",
    networks=NetworkPolicy(datacenter=(AgentKind.BROWSER,), vpn=(), relay=(AgentKind.BROWSER,)),
)
UNWEIGHED = msgspec.structs.replace(
    PTMG_2_3, name="unweighed", excluding=PTMG_2_3.excluding & ~Verdict.TINY_RANGE.bit & ~Verdict.BOT.bit
)
PLAYERS = msgspec.structs.replace(
    OP3, name="players", by_referrer=False, excluding=OP3.excluding & ~Verdict.DATACENTER.bit
)
PROFILES = st.sampled_from([DEFAULT_PROFILE, PTMG_2_3, ODL, HALF_A_MINUTE, APPS_COUNT, UNWEIGHED, PLAYERS])
PRELOADING = "podverse.fm"
NETWORKS = st.sampled_from(
    [
        NetworkClass.NONE,
        NetworkClass.DATACENTER,
        NetworkClass.VPN,
        NetworkClass.RELAY,
        NetworkClass.DATACENTER | NetworkClass.SHARED,
    ]
)
SEEDS = st.lists(st.tuples(NETWORKS, st.booleans(), st.booleans()), min_size=1)


def landed(cases: list[Case], seeds: list[tuple[NetworkClass, bool, bool]]) -> tuple[HitColumns, ProfileFacts]:
    """Store hits as they landed, some of them clicks, of some what networks they are of."""
    bits, verdicts, evidence = judged(cases)
    chosen = [seeds[place % len(seeds)] for place in range(len(cases))]
    is_click = np.array([click for _, _, click in chosen], np.bool_)
    known: dict[str, npt.NDArray[Any]] = {
        "verdict_bits": np.where(is_click, 0, column(bits)),
        "verdict": np.where(is_click, NO_VERDICT, column(verdicts)),
        "evidence": np.where(is_click, int(Evidence.FULL), column(evidence)),
        "range_kind": column([case.byte_range.kind for case in cases]),
        "range_first": column([case.byte_range.first for case in cases]),
        "range_last": column([case.byte_range.last for case in cases]),
        "flags": column([HitFlag.PLAYLIST if case.is_playlist else 0 for case in cases]),
        "networks": column([networks for networks, _, _ in chosen]),
        "rules": column([DEFAULT_PROFILE.version] * len(cases)),
        "listener_key": np.zeros((len(cases), 2), np.uint64),
    }
    hits = HitColumns(**{name: known.get(name, np.arange(len(cases), dtype=np.int64)) for name, _ in HIT_COLUMNS})
    return hits, ProfileFacts(
        agent_kind=column([case.facts.agent_kind for case in cases]),
        length_bytes=column([case.length_now for case in cases]),
        duration_s=column([case.duration_now for case in cases]),
        is_preload=np.array([preload for _, preload, _ in chosen], np.bool_),
    )


def rows(hits: HitColumns) -> dict[str, list[Any]]:
    return {name: getattr(hits, name).tolist() for name, _ in HIT_COLUMNS}


@given(CASES, SEEDS, PROFILES)
def test_a_column_is_judged_as_comparisons_judge_one_hit(
    cases: list[Case], seeds: list[tuple[NetworkClass, bool, bool]], profile: Profile
) -> None:
    hits, facts = landed(cases, seeds)
    found = judge_by(hits, facts, profile)
    for place, case in enumerate(cases):
        networks, preload, is_click = seeds[place % len(seeds)]
        if is_click:
            assert (found.verdict[place], found.evidence[place]) == (NO_VERDICT, Evidence.FULL)
            continue
        stored = StoredFacts(
            int(hits.verdict_bits[place]),
            *case.byte_range,
            case.facts.agent_kind,
            int(networks),
            PRELOADING if preload and profile.preload_referrers else "",
            case.is_playlist,
        )
        judge = Judge(profile, length_bytes=case.length_now, duration_s=case.duration_now)
        # A web player that no profile names loads like anybody.
        if preload and not profile.preload_referrers:
            continue
        assert found.verdict[place] == judge.verdict(stored)
        assert (found.evidence[place] > 0) is (found.verdict[place] == Verdict.ELIGIBLE)


@given(CASES, SEEDS, st.lists(PROFILES, min_size=1, max_size=4))
def test_whatever_a_day_was_judged_by_the_default_rules_have_it_back(
    cases: list[Case], seeds: list[tuple[NetworkClass, bool, bool]], profiles: list[Profile]
) -> None:
    landed_hits, facts = landed(cases, seeds)
    hits = landed_hits
    for profile in profiles:
        hits = judge_by(by_default(hits), facts, profile)
        assert rows(by_default(hits)) == rows(landed_hits)
        # All but verdict and evidence stays as it is, but for where the old evidence is kept.
        changed = {name for name, values in rows(hits).items() if values != rows(landed_hits)[name]}
        assert changed <= {"verdict", "evidence", "rules"}
        assert rows(judge_by(by_default(hits), facts, profile)) == rows(hits)


@given(CASES, SEEDS)
def test_the_default_profile_changes_nothing(cases: list[Case], seeds: list[tuple[NetworkClass, bool, bool]]) -> None:
    hits, facts = landed(cases, seeds)
    assert rows(judge_by(hits, facts, DEFAULT_PROFILE)) == rows(hits)


@given(CASES, SEEDS, PROFILES)
def test_evidence_is_what_the_profile_says_of_the_range_where_it_weighs_by_itself(
    cases: list[Case], seeds: list[tuple[NetworkClass, bool, bool]], profile: Profile
) -> None:
    hits, facts = landed(cases, seeds)
    found = judge_by(hits, facts, profile)
    weighed = [
        evidence_of(case.byte_range, case.length_now, case.duration_now, profile, is_playlist=case.is_playlist)
        for case in cases
    ]
    for place, (evidence, is_tiny) in enumerate(weighed):
        if found.verdict[place] != Verdict.ELIGIBLE:
            continue
        if cases[place].is_playlist or cases[place].byte_range == FIRST_TWO_BYTES:
            assert found.evidence[place] == Evidence.PROBE
        elif profile.weighing != DEFAULT_PROFILE.weighing and not is_tiny:
            assert found.evidence[place] == evidence
