"""The record of changes: what is kept of one, and a chain that shows whatever was done to it."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.audit import HIDDEN, Actor, AuditEntry, SealedEntry, chain_hash, describe_changes, find_break

TENANT = UUID(int=7)
NOW = dt.datetime(2026, 11, 24, 12, 0, tzinfo=dt.UTC)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
documents = st.dictionaries(st.text(max_size=10), json_values, max_size=4)
entries = st.builds(
    AuditEntry,
    entry_id=st.uuids(),
    at=st.integers(0, 10**15).map(lambda us: NOW + dt.timedelta(microseconds=us)),
    actor=st.sampled_from([Actor.KEY, Actor.USER]),
    actor_id=st.uuids(),
    action=st.sampled_from(["link.create", "link.update", "key.revoke"]),
    resource_id=st.none() | st.text(min_size=1, max_size=20),
    request_id=st.none() | st.text(min_size=1, max_size=20),
    before=st.none() | documents,
    after=st.none() | documents,
)
chains = st.lists(entries, min_size=1, max_size=8, unique_by=lambda entry: entry.entry_id)


def seal(of: list[AuditEntry]) -> list[SealedEntry]:
    links: list[SealedEntry] = []
    for seq, entry in enumerate(of, 1):
        links.append(SealedEntry(seq, chain_hash(links[-1].hash if links else None, TENANT, seq, entry), entry))
    return links


@given(chains, st.integers(0, 8))
def test_a_chain_is_whole_however_it_is_read_in_parts(of: list[AuditEntry], cut: int) -> None:
    links = seal(of)
    assert find_break(TENANT, links) is None
    cut = min(cut, len(links))
    after = (links[cut - 1].seq, links[cut - 1].hash) if cut else None
    assert find_break(TENANT, links[cut:], after=after) is None


@given(chains, st.data())
def test_a_changed_entry_breaks_the_chain_at_its_place(of: list[AuditEntry], data: st.DataObject) -> None:
    links = seal(of)
    place = data.draw(st.integers(0, len(links) - 1))
    name = data.draw(st.sampled_from(AuditEntry.__struct_fields__))
    entry = links[place].entry
    assert entry is not None
    other = msgspec.structs.replace(data.draw(entries), entry_id=uuid4())
    changed = msgspec.structs.replace(entry, **{name: getattr(other, name)})
    links[place] = msgspec.structs.replace(links[place], entry=changed)
    found = find_break(TENANT, links)
    assert (found is None) == (changed == entry)
    if found is not None:
        assert found.startswith(f"sequence {place + 1}: ")


@given(chains, st.data())
def test_an_entry_that_is_gone_breaks_the_chain_unless_it_was_the_last(
    of: list[AuditEntry], data: st.DataObject
) -> None:
    links = seal(of)
    place = data.draw(st.integers(0, len(links) - 1))
    without = links[:place] + links[place + 1 :]
    found = find_break(TENANT, without)
    assert (found is None) == (place == len(links) - 1)
    if found is not None:
        assert found == f"sequence {place + 1}: there is none, the next one is {place + 2}"
    links[place] = msgspec.structs.replace(links[place], entry=None)
    assert find_break(TENANT, links) == f"sequence {place + 1}: the entry is gone"


@given(chains.filter(lambda of: len(of) > 1), st.data())
def test_two_entries_that_were_swapped_break_the_chain_at_the_first(of: list[AuditEntry], data: st.DataObject) -> None:
    links = seal(of)
    one = data.draw(st.integers(0, len(links) - 2))
    two = data.draw(st.integers(one + 1, len(links) - 1))
    first, second = links[one], links[two]
    links[one] = msgspec.structs.replace(first, entry=second.entry)
    links[two] = msgspec.structs.replace(second, entry=first.entry)
    assert (find_break(TENANT, links) or "").startswith(f"sequence {one + 1}: ")


@given(chains)
def test_a_chain_is_its_tenants_own(of: list[AuditEntry]) -> None:
    assert find_break(UUID(int=8), seal(of)) == "sequence 1: the entry, or one before it, is not what was sealed"


def test_the_hash_is_what_the_documentation_says() -> None:
    entry = AuditEntry(
        entry_id=UUID(int=1),
        at=NOW,
        actor=Actor.KEY,
        actor_id=UUID(int=2),
        action="link.create",
        resource_id="x",
        request_id=None,
        before=None,
        after={"b": 1, "a": "é"},
    )
    said = (
        '{"action":"link.create","actor":"key","actor_id":"00000000-0000-0000-0000-000000000002",'
        '"after":{"a":"é","b":1},"at":"2026-11-24T12:00:00Z","before":null,'
        '"entry_id":"00000000-0000-0000-0000-000000000001","request_id":null,"resource_id":"x","seq":1,'
        '"tenant_id":"00000000-0000-0000-0000-000000000007"}'
    ).encode()
    first = chain_hash(None, TENANT, 1, entry)
    assert first == hashlib.sha256(bytes(32) + said).digest()
    second = chain_hash(first, TENANT, 2, entry)
    assert second == hashlib.sha256(first + said.replace(b'"seq":1', b'"seq":2')).digest()


CANARY = "canary-7f3a"


@pytest.mark.parametrize(
    "name",
    ["password", "token", "refresh_token", "key", "api_key", "secret", "client_secret", "key_hash", "email", "cookie"],
)
@pytest.mark.parametrize("wrap", [lambda d: d, lambda d: {"inner": d}, lambda d: {"list": [d, {"deeper": [d]}]}])
def test_what_is_secret_is_never_kept(name: str, wrap: Any) -> None:
    before, after = describe_changes(wrap({name: CANARY, "name": "x"}), wrap({name: f"{CANARY}2", "name": "y"}))
    kept = json.dumps([before, after])
    assert CANARY not in kept
    assert HIDDEN in kept
    assert '"x"' in kept
    assert '"y"' in kept


def test_a_secret_that_was_taken_away_is_seen_to_be_gone() -> None:
    assert describe_changes(None, {"token": None}) == (None, {"token": None})


@given(documents, documents)
def test_of_a_change_what_differs_is_kept_and_nothing_else(before: dict[str, Any], after: dict[str, Any]) -> None:
    shown_before, shown_after = describe_changes(before, after)
    assert shown_before is not None
    assert shown_after is not None
    for name in {*before, *after}:
        differs = (name in before, before.get(name)) != (name in after, after.get(name))
        assert (name in shown_before or name in shown_after) == differs


def test_what_is_too_long_is_told_by_its_length() -> None:
    before, after = describe_changes({"name": "x"}, {"name": "y" * 10_000})
    assert before == {"name": "x"}
    assert after == {"too_long_bytes": len(json.dumps({"name": "y" * 10_000}, separators=(",", ":")))}
