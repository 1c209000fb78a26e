"""The registry snapshot: what is written is known, whatever is damaged is told."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.api_keys import KeyKind
from analytics_core.registry import (
    CollectorKey,
    Link,
    Registry,
    RegistryDamaged,
    encode_registry,
    parse_registry,
    read_registry,
    write_registry,
)

# Few letters, so that many words begin alike; bytes below and above the tab, a letter of two bytes.
words = st.text("ab-.\x01é", min_size=1, max_size=6)
names = st.frozensets(words, max_size=30)
keys = st.builds(
    CollectorKey,
    tenant_no=st.integers(1, 2**31 - 1),
    kind=st.sampled_from(KeyKind),
    origins=st.lists(words, max_size=3).map(tuple),
    expires_us=st.none() | st.integers(0, 2**60),
    status=st.sampled_from(["active", "suspended", "closing"]),
)
KEY = CollectorKey(tenant_no=3)
hashes = st.binary(min_size=32, max_size=32)
registries = st.builds(
    Registry,
    version=st.integers(0, 2**40),
    hosts=names,
    click_keys=names,
    deny_hosts=names,
    own_hosts=names,
    links=st.dictionaries(words, st.builds(Link, words, st.booleans()), max_size=30),
    vanity_hosts=st.dictionaries(words, words, max_size=30),
    keys=st.dictionaries(hashes, keys, max_size=10),
)


@given(registries, st.lists(words, max_size=20))
def test_a_snapshot_knows_what_was_written_and_nothing_else(registry: Registry, others: list[str]) -> None:
    known = parse_registry(encode_registry(registry))
    assert (known.version, known.deny_hosts, known.own_hosts) == (
        registry.version,
        registry.deny_hosts,
        registry.own_hosts,
    )
    for table, content in ((known.hosts, registry.hosts), (known.click_keys, registry.click_keys)):
        assert len(table) == len(content)
        assert set(table) == content
    for word in {*others, *registry.hosts, *registry.click_keys, *registry.links, *registry.vanity_hosts, ""}:
        assert (word in known.hosts) is (word in registry.hosts)
        assert (word in known.click_keys) is (word in registry.click_keys)
        assert known.links.get(word) == registry.links.get(word)
        assert known.vanity_hosts.get(word) == registry.vanity_hosts.get(word)
    for key_hash in {bytes(32), *registry.keys}:
        assert known.keys.get(key_hash) == registry.keys.get(key_hash)


@given(registries, registries)
def test_digests_are_equal_where_all_but_the_version_is(one: Registry, other: Registry) -> None:
    def content(registry: Registry) -> tuple[object, ...]:
        return (
            registry.hosts,
            registry.click_keys,
            registry.deny_hosts,
            registry.own_hosts,
            registry.links,
            registry.vanity_hosts,
            registry.keys,
        )

    same = parse_registry(encode_registry(one)).digest == parse_registry(encode_registry(other)).digest
    assert same is (content(one) == content(other))


@given(registries, st.data())
def test_any_damage_is_told(registry: Registry, data: st.DataObject) -> None:
    written = encode_registry(registry)
    place = data.draw(st.integers(written.index(b"\n"), len(written) - 1))
    damaged = bytearray(written)
    damaged[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(RegistryDamaged):
        parse_registry(bytes(damaged))
    with pytest.raises(RegistryDamaged):
        parse_registry(written[:place])


def test_a_snapshot_of_before_there_were_collectors_is_read() -> None:
    body = b"a.example.com\nkey\nslug\thttps://b.example.com/\n"
    header = b'{"format":"castledger-registry-2","version":7,"deny_hosts":[],"own_hosts":[],'
    header += b'"lines":[1,1,1],"sizes":[14,4,28]'
    known = parse_registry(header + b',"crc":%d}\n' % zlib.crc32(body) + body)
    assert (set(known.hosts), known.links.get("slug")) == ({"a.example.com"}, Link("https://b.example.com/"))
    assert known.keys.get(bytes(32)) is None
    assert known.vanity_hosts.get("a.example.com") is None
    with pytest.raises(RegistryDamaged, match="4 sections"):
        parse_registry(header.replace(b"-2", b"-3") + b',"crc":%d}\n' % zlib.crc32(body) + body)


def test_a_snapshot_of_before_there_were_vanity_hosts_is_read() -> None:
    body = encode_registry(Registry(links={"slug": Link("https://b.example.com/")}, keys={bytes(32): KEY}))
    body = body.partition(b"\n")[2]
    keys_at = body.index(b"0" * 64)
    header = b'{"format":"castledger-registry-3","version":7,"deny_hosts":[],"own_hosts":[],"lines":[0,0,1,1],'
    header += b'"sizes":[0,0,%d,%d],"crc":%d}\n' % (keys_at, len(body) - keys_at, zlib.crc32(body))
    known = parse_registry(header + body)
    assert (known.links.get("slug"), known.keys.get(bytes(32))) == (Link("https://b.example.com/"), KEY)
    assert known.vanity_hosts.get("slug") is None


@given(st.binary(max_size=200))
def test_no_bytes_whatever_are_taken_for_a_snapshot(data: bytes) -> None:
    with pytest.raises(RegistryDamaged):
        parse_registry(data)


@pytest.mark.parametrize("text", ["a\nb", "a\tb"])
def test_what_does_not_fit_into_a_line_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "registry.snapshot"
    write_registry(path, Registry(version=1, hosts=frozenset({"cdn.example.com"})))
    for broken in (
        Registry(hosts=frozenset({text})),
        Registry(click_keys=frozenset({text})),
        Registry(links={text: Link("https://example.com")}),
        Registry(links={"offer": Link(text)}),
        Registry(vanity_hosts={text: "offer"}),
        Registry(vanity_hosts={"acme.example.net": text}),
    ):
        with pytest.raises(ValueError, match="line"):
            write_registry(path, broken)
    assert set(read_registry(path).hosts) == {"cdn.example.com"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["registry.snapshot"]
