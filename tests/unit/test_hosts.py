"""Hosts that may be accepted, and the bound on those that may be listed."""

from __future__ import annotations

import datetime as dt
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.errors import InvalidInput
from analytics_core.hosts import OTHER_HOSTS, HostSighting, bound_sightings, merge_sightings, parse_host_name

AT = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
HOSTS = st.sampled_from([f"{letter}.example.com" for letter in "abcdefgh"] + [OTHER_HOSTS])


@st.composite
def sightings(draw: st.DrawFn) -> HostSighting:
    first, last = sorted(draw(st.tuples(st.integers(0, 100), st.integers(0, 100))))
    podcast_no = draw(st.integers(1, 3))
    return HostSighting(
        podcast_no * 10,
        podcast_no,
        draw(HOSTS),
        AT + dt.timedelta(seconds=first),
        AT + dt.timedelta(seconds=last),
        draw(st.integers(1, 50)),
    )


def hits_of(found: list[HostSighting]) -> Counter[int]:
    hits: Counter[int] = Counter()
    for one in found:
        hits[one.podcast_no] += one.hits
    return hits


@given(st.lists(sightings()), st.permutations(range(5)))
def test_sightings_add_up_in_any_order_and_any_parts(found: list[HostSighting], cuts: list[int]) -> None:
    parts = [merge_sightings(found[cut :: len(cuts)]) for cut in cuts]
    whole = merge_sightings(found)
    assert merge_sightings(one for part in parts for one in part) == whole
    assert hits_of(whole) == hits_of(found)
    assert [(one.podcast_no, one.host) for one in whole] == sorted({(one.podcast_no, one.host) for one in found})


@given(
    st.lists(sightings()),
    st.dictionaries(st.integers(1, 3), st.frozensets(HOSTS, max_size=4)),
    st.integers(0, 5),
)
def test_no_hit_is_lost_and_no_list_outgrows_its_bound(
    found: list[HostSighting], listed: dict[int, frozenset[str]], limit: int
) -> None:
    bounded = bound_sightings(found, listed, limit=limit)
    assert hits_of(bounded) == hits_of(found)
    merged = {(one.podcast_no, one.host): one for one in merge_sightings(found)}
    for podcast_no in (1, 2, 3):
        before = listed.get(podcast_no, frozenset()) - {OTHER_HOSTS}
        mine = [one for one in bounded if one.podcast_no == podcast_no]
        hosts = {one.host for one in mine} - {OTHER_HOSTS}
        assert len(before | hosts) <= max(limit, len(before))
        # A host keeps its own count, or is in `other` whole; one that is listed stays.
        assert all(one == merged[podcast_no, one.host] for one in mine if one.host != OTHER_HOSTS)
        left_out = {host for number, host in merged if number == podcast_no} - hosts - {OTHER_HOSTS}
        assert not left_out & before
        if left_out:
            assert any(one.host == OTHER_HOSTS for one in mine)
            new = [merged[podcast_no, host].hits for host in hosts - before]
            assert all(merged[podcast_no, host].hits <= min(new, default=10**9) for host in left_out)
    assert bound_sightings(bounded, listed, limit=limit) == bounded


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("192.0.2.1", "host_not_public"),
        ("8.8.8.8", "host_not_public"),
        ("2001:db8::1", "host_not_public"),
        ("[2606:4700::1111]", "host_not_public"),
        ("localhost", "host_not_public"),
        ("other", "host_not_public"),
        ("a.internal", "host_not_public"),
        ("printer.local", "host_not_public"),
        ("cdn.example.com:8080", "host_not_public"),
        ("0x7f.1", "host_invalid"),
        ("1.2.3.999", "host_invalid"),
        ("", "host_invalid"),
        ("a..b", "host_invalid"),
        ("-a.example.com", "host_invalid"),
        ("münchen.de", "host_invalid"),
        ("cdn.example.com/x", "host_invalid"),
        ("user@cdn.example.com", "host_invalid"),
        ("a" * 254, "host_invalid"),
    ],
)
def test_what_is_no_public_name_is_refused(text: str, code: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        parse_host_name(text)
    assert (refusal.value.path, refusal.value.code) == ("host", code)
