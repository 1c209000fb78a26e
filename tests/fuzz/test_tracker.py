"""Whatever anybody sends: an answer of the list, the same however it is cut, and never a way to another host."""

from __future__ import annotations

import itertools
from typing import Final
from uuid import UUID

import ada_url
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.hosts import HostKind
from analytics_core.registry import Registry
from analytics_core.settings import HostPolicyMode
from prefix_redirect.decisions import Decision, decide, refuse
from prefix_redirect.host_policy import HostPolicy, Ruling, is_navigation
from prefix_redirect.requests import HeaderName, Limits, RequestReader
from prefix_redirect.targets import Target, parse_target, split_prefix
from tests.fuzz.conftest import FUZZ
from tests.fuzz.grammar import REGISTRY, policies, requests, targets

ZERO: Final = UUID(int=0)
STATUSES: Final = {200, 204, 302, 400, 404, 405}
REFUSALS: Final = {400, 408, 413, 414, 431}


class Wire:
    """A connection without a socket: bytes in, decisions out."""

    def __init__(self, policy: HostPolicy) -> None:
        self.decisions: list[Decision] = []
        self.refused = 0
        self._policy = policy
        self._reader = RequestReader(self._take, Limits(line_bytes=512, header_bytes=1024, headers=20, body_bytes=64))

    def _take(self) -> None:
        reader = self._reader
        get = reader.headers.get
        navigation = is_navigation(get(HeaderName.ACCEPT, b""), get(HeaderName.FETCH_DEST, b""))
        self.decisions.append(
            decide(reader.method, reader.url, navigation=navigation, policy=self._policy, new_click=lambda: ZERO)
        )

    def send(self, data: bytes) -> None:
        if data and not self.refused and not self._reader.is_done:
            self.refused = self._reader.feed(data)


def check_decision(decision: Decision) -> None:
    """Hold a decision to the contract: its status, its form, and where it leads."""
    assert decision.status in STATUSES
    assert decision.headers.isascii()
    lines = decision.headers.split(b"\r\n")
    assert lines.pop() == b""
    assert all(0x20 <= byte < 0x7F for line in lines for byte in line)
    names = [line.partition(b": ")[0] for line in lines]
    assert len(set(names)) == len(names)
    assert (b"Location" in names) is (decision.status == 302)
    assert decision.record is (decision.status == 302)
    if decision.status == 302:
        location = next(line for line in lines if line.startswith(b"Location: ")).removeprefix(b"Location: ").decode()
        assert " " not in location
        check_location(location)


def check_location(location: str) -> None:
    """Hold a redirect to what a browser makes of it (WHATWG URL): the host that we have judged, and no other."""
    judged = parse_target(location.encode())
    assert isinstance(judged, Target), location
    try:
        seen = ada_url.URL(location)
    except ValueError:
        # A browser goes nowhere: names in punycode that spell nothing.
        assert "xn--" in judged.host
        return
    assert seen.protocol in ("http:", "https:")
    assert (seen.username, seen.password) == ("", "")
    host = seen.hostname.removeprefix("[").removesuffix("]").removesuffix(".")
    assert host == judged.host, location
    if host not in REGISTRY.hosts:
        assert judged.host_kind is HostKind.PUBLIC


@FUZZ
@given(policies, st.binary(max_size=400) | st.lists(requests, max_size=3).map(b"".join), st.data())
def test_any_bytes_are_answered_alike_however_they_are_cut(
    policy: HostPolicy, data: bytes, draw: st.DataObject
) -> None:
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=6)))
    whole, cut = Wire(policy), Wire(policy)
    whole.send(data)
    for start, end in itertools.pairwise([0, *cuts, len(data)]):
        cut.send(data[start:end])
    assert cut.decisions == whole.decisions
    for decision in whole.decisions:
        check_decision(decision)
    # Refused at once or at the next byte; but what is refused is refused.
    assert {whole.refused, cut.refused} <= {0, *REFUSALS}
    for status in (whole.refused, cut.refused):
        if status:
            assert refuse(status).status == status


@FUZZ
@given(policies, st.lists(requests, min_size=1, max_size=4), st.integers(0, 400), st.binary(max_size=6))
def test_requests_with_a_mistake_anywhere_are_answered(
    policy: HostPolicy, sent: list[bytes], place: int, instead: bytes
) -> None:
    data = b"".join(sent)
    place %= len(data) + 1
    wire = Wire(policy)
    wire.send(data[:place] + instead + data[place + len(instead) :])
    for decision in wire.decisions:
        check_decision(decision)


@FUZZ
@given(policies, targets, st.sampled_from([b"GET", b"HEAD", b"OPTIONS", b"PUT"]), st.booleans())
def test_no_target_leads_to_another_host_than_the_one_judged(
    policy: HostPolicy, target: str, method: bytes, navigation: bool
) -> None:
    raw = target.encode("utf-8", "surrogatepass")
    decision = decide(method, raw, navigation=navigation, policy=policy, new_click=lambda: ZERO)
    check_decision(decision)
    if method in (b"GET", b"HEAD"):
        assert decision == decide(b"GET", raw, navigation=navigation, policy=policy, new_click=lambda: ZERO)
    parts = split_prefix(raw)
    parsed = None if parts is None else parse_target(parts[1])
    if isinstance(parsed, Target) and method in (b"GET", b"HEAD"):
        ruling = policy.rule(parsed, navigation=navigation)
        assert (decision.status == 302) is (ruling is Ruling.REDIRECT)


@FUZZ
@given(targets, st.booleans())
def test_a_strict_tracker_leads_only_to_known_hosts(target: str, navigation: bool) -> None:
    strict = HostPolicy(Registry(hosts=REGISTRY.hosts, own_hosts=REGISTRY.own_hosts), mode=HostPolicyMode.KNOWN)
    decision = decide(b"GET", target.encode("utf-8", "surrogatepass"), navigation=navigation, policy=strict)
    check_decision(decision)
    if decision.status == 302:
        assert not navigation
        location = decision.headers.split(b"\r\n")[0].removeprefix(b"Location: ")
        assert any(host.encode() in location.lower() for host in REGISTRY.hosts)
