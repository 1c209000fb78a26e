"""What stands behind ``/e``: each spelling with the location it leads to, or the fault that it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.hosts import HostKind, classify_host
from prefix_redirect.targets import Target, TargetFault, parse_target, split_prefix

LOCATIONS = [
    ("cdn.example.com/a.mp3", "https://cdn.example.com/a.mp3"),
    ("cdn.example.com", "https://cdn.example.com"),
    ("cdn.example.com?x=1", "https://cdn.example.com?x=1"),
    ("http://cdn.example.com/a.mp3", "http://cdn.example.com/a.mp3"),
    ("https://cdn.example.com/a.mp3", "https://cdn.example.com/a.mp3"),
    ("HTTPS://cdn.example.com/a.mp3", "https://cdn.example.com/a.mp3"),
    ("hTTp://cdn.example.com/a.mp3", "http://cdn.example.com/a.mp3"),
    ("https:/cdn.example.com/a.mp3", "https://cdn.example.com/a.mp3"),
    ("http:/cdn.example.com/a.mp3", "http://cdn.example.com/a.mp3"),
    ("https%3A%2F%2Fcdn.example.com/a.mp3", "https://cdn.example.com/a.mp3"),
    ("http%3a//cdn.example.com/a.mp3", "http://cdn.example.com/a.mp3"),
    ("https%3A%2Fcdn.example.com/a.mp3", "https://cdn.example.com/a.mp3"),
    ("https%3A%2F%2Fcdn.example.com%2Fa%2520b.mp3", "https://cdn.example.com/a%20b.mp3"),
    ("http%3a%2f%2fcdn.example.com%3A8443%2fa.mp3%3Fx%3D1?_from=y", "http://cdn.example.com:8443/a.mp3?x=1?_from=y"),
    ("https%3A%2F%2Fcdn.example.com%2F%C3%BC%20.mp3", "https://cdn.example.com/%C3%BC%20.mp3"),
    ("https%3A%2F%2Fcdn.example.com/a%2Fb.mp3", "https://cdn.example.com/a%2Fb.mp3"),
    ("/cdn.example.com/a.mp3", "https://cdn.example.com/a.mp3"),
    ("/http://cdn.example.com/a.mp3", "http://cdn.example.com/a.mp3"),
    ("CDN.Example.Com/A.mp3", "https://CDN.Example.Com/A.mp3"),
    ("cdn.example.com./a.mp3", "https://cdn.example.com./a.mp3"),
    ("my_cdn.example.com/a.mp3", "https://my_cdn.example.com/a.mp3"),
    ("cdn.example.com:8443/a.mp3", "https://cdn.example.com:8443/a.mp3"),
    ("cdn.example.com//b/../c.mp3", "https://cdn.example.com//b/../c.mp3"),
    (
        "cdn.example.com/%2e%2E/a%20b.mp3?u=https://x.y/%zz&&",
        "https://cdn.example.com/%2e%2E/a%20b.mp3?u=https://x.y/%zz&&",
    ),
    ("cdn.example.com/a.mp3#t=1", "https://cdn.example.com/a.mp3#t=1"),
    ("8.8.8.8/a.mp3", "https://8.8.8.8/a.mp3"),
    ("[2606:4700::1111]:8080/a.mp3", "https://[2606:4700::1111]:8080/a.mp3"),
    ("op3.dev/e/http://cdn.example.com/a.mp3", "https://op3.dev/e/http://cdn.example.com/a.mp3"),
    ("pg=9b024349-ccf0-5f69-a609-6b82873eab3c/cdn.example.com/a.mp3", "https://cdn.example.com/a.mp3"),
    ("pg=nonsense/http://cdn.example.com/a.mp3", "http://cdn.example.com/a.mp3"),
    ("example.com/a.mp3", "https://example.com/a.mp3"),
]

FAULTS = [
    ("", TargetFault.EMPTY),
    ("/", TargetFault.EMPTY),
    ("//cdn.example.com/a.mp3", TargetFault.EMPTY),
    ("https://", TargetFault.EMPTY),
    ("https:///a.mp3", TargetFault.EMPTY),
    ("?x=cdn.example.com", TargetFault.EMPTY),
    (":443/a.mp3", TargetFault.EMPTY),
    ("user@cdn.example.com/a.mp3", TargetFault.USER_INFO),
    ("https%3A%2F%2Fuser%40cdn.example.com%2Fa.mp3", TargetFault.USER_INFO),
    ("https%3A%2F%2Fcdn.example.com%2Fa%0D%0A.mp3", TargetFault.CONTROL),
    ("https%3A%2F%2Fcdn.example.com%2Fa%5Cb.mp3", TargetFault.BACKSLASH),
    ("https%3A%2F%2Fcdn.example.com%5C%2Fa.mp3", TargetFault.BACKSLASH),
    ("cdn.example.com%2Fa.mp3", TargetFault.LABEL),
    ("https://user:pw@cdn.example.com/a.mp3", TargetFault.USER_INFO),
    ("cdn.example.com@evil.org", TargetFault.USER_INFO),
    ("cdn.example.com:0/a.mp3", TargetFault.PORT),
    ("cdn.example.com:080/a.mp3", TargetFault.PORT),
    ("cdn.example.com:65536/a.mp3", TargetFault.PORT),
    ("cdn.example.com:/a.mp3", TargetFault.PORT),
    ("cdn.example.com:x/a.mp3", TargetFault.PORT),
    ("cdn.example.com:443:443/a.mp3", TargetFault.PORT),
    ("https://https://cdn.example.com/a.mp3", TargetFault.DOUBLED_SCHEME),
    ("https://http:/cdn.example.com/a.mp3", TargetFault.DOUBLED_SCHEME),
    ("http%3A//https%3A//cdn.example.com/a.mp3", TargetFault.DOUBLED_SCHEME),
    ("cdn..example.com/a.mp3", TargetFault.LABEL),
    (".example.com/a.mp3", TargetFault.LABEL),
    ("cdn.example.com../a.mp3", TargetFault.LABEL),
    ("-cdn.example.com/a.mp3", TargetFault.LABEL),
    ("cdn-.example.com/a.mp3", TargetFault.LABEL),
    (f"{'a' * 64}.example.com/a.mp3", TargetFault.LABEL),
    (f"{'a.' * 127}com/a.mp3", TargetFault.LABEL),
    ("cdn%2Eexample.com/a.mp3", TargetFault.LABEL),
    ("m%C3%BCnchen.de/a.mp3", TargetFault.LABEL),
    ("cdn!.example.com/a.mp3", TargetFault.LABEL),
    ("1.2.3/a.mp3", TargetFault.LABEL),
    ("0x7f.0.0.1/a.mp3", TargetFault.LABEL),
    ("0177.0.0.1/a.mp3", TargetFault.LABEL),
    ("2130706433/a.mp3", TargetFault.LABEL),
    ("cdn.example.com.0x7f/a.mp3", TargetFault.LABEL),
    ("256.1.1.1/a.mp3", TargetFault.LABEL),
    ("[::1/a.mp3", TargetFault.LABEL),
    ("[fe80::1%25eth0]/a.mp3", TargetFault.LABEL),
    ("[8.8.8.8]/a.mp3", TargetFault.LABEL),
    ("[2606:4700::1111]x/a.mp3", TargetFault.LABEL),
    ("cdn.example.com\\@evil.org/a.mp3", TargetFault.BACKSLASH),
    ("cdn.example.com/a\\b.mp3", TargetFault.BACKSLASH),
    ("cdn.example.com/a\x00.mp3", TargetFault.CONTROL),
    ("cdn.example.com/a\r\nSet-Cookie: x.mp3", TargetFault.CONTROL),
    ("cdn.example.com\t/a.mp3", TargetFault.CONTROL),
    ("cdn.example.com/a b.mp3", TargetFault.CONTROL),
    ("cdn.example.com/\x7f", TargetFault.CONTROL),
]

KINDS = [
    ("cdn.example.com", HostKind.PUBLIC),
    ("example.com", HostKind.PUBLIC),
    ("test.com", HostKind.PUBLIC),
    ("8.8.8.8", HostKind.PUBLIC),
    ("xn--mnchen-3ya.de", HostKind.PUBLIC),
    ("localhost", HostKind.SINGLE_LABEL),
    ("intranet", HostKind.SINGLE_LABEL),
    ("a.localhost", HostKind.RESERVED),
    ("nas.local", HostKind.RESERVED),
    ("metadata.google.internal", HostKind.RESERVED),
    ("a.test", HostKind.RESERVED),
    ("a.example", HostKind.RESERVED),
    ("a.invalid", HostKind.RESERVED),
    ("abc.onion", HostKind.RESERVED),
    ("127.0.0.1", HostKind.RESERVED),
    ("10.0.0.1", HostKind.RESERVED),
    ("169.254.169.254", HostKind.RESERVED),
    ("100.64.0.1", HostKind.RESERVED),
    ("224.0.0.1", HostKind.RESERVED),
    ("255.255.255.255", HostKind.RESERVED),
    ("0.0.0.0", HostKind.RESERVED),
]

SIX = [
    ("[2606:4700::1111]", "2606:4700::1111", HostKind.PUBLIC),
    ("[2606:4700:0::1111]", "2606:4700::1111", HostKind.PUBLIC),
    ("[::1]", "::1", HostKind.RESERVED),
    ("[fe80::1]", "fe80::1", HostKind.RESERVED),
    ("[fd00::1]", "fd00::1", HostKind.RESERVED),
    ("[::ffff:127.0.0.1]", "::ffff:7f00:1", HostKind.RESERVED),
    ("[64:ff9b::7f00:1]", "64:ff9b::7f00:1", HostKind.RESERVED),
    ("[2002:7f00:1::]", "2002:7f00:1::", HostKind.RESERVED),
    ("[ff02::1]", "ff02::1", HostKind.RESERVED),
]


@pytest.mark.parametrize(("raw", "location"), LOCATIONS)
def test_a_good_target_leads_to_its_location_byte_for_byte(raw: str, location: str) -> None:
    target = parse_target(raw.encode())
    assert isinstance(target, Target), target
    assert target.location == location.encode()


@pytest.mark.parametrize(("raw", "fault"), FAULTS)
def test_a_bad_target_is_told_by_its_fault(raw: str, fault: TargetFault) -> None:
    assert parse_target(raw.encode()) is fault


@pytest.mark.parametrize(("host", "kind"), KINDS)
def test_a_host_is_public_or_has_to_be_registered(host: str, kind: HostKind) -> None:
    assert classify_host(host) is kind
    target = parse_target(f"{host.upper()}./a.mp3".encode())
    assert isinstance(target, Target)
    assert (target.host, target.host_kind) == (host, kind)


@pytest.mark.parametrize(("raw", "host", "kind"), SIX)
def test_an_ipv6_literal_is_judged_by_what_it_reaches(raw: str, host: str, kind: HostKind) -> None:
    target = parse_target(f"{raw}/a.mp3".encode())
    assert isinstance(target, Target)
    assert target.host_kind is kind
    assert target.host.replace("127.0.0.1", "7f00:1") == host


@pytest.mark.parametrize(
    ("raw", "stored"),
    [
        ("cdn.example.com/a.mp3", "cdn.example.com/a.mp3"),
        ("/CDN.example.com/a.mp3", "CDN.example.com/a.mp3"),
        ("http://cdn.example.com/a.mp3", "http://cdn.example.com/a.mp3"),
        ("https://cdn.example.com/a.mp3", "https://cdn.example.com/a.mp3"),
        ("HTTPS:/cdn.example.com/a.mp3", "https://cdn.example.com/a.mp3"),
        ("http%3A%2F%2Fcdn.example.com/%3A", "http://cdn.example.com/%3A"),
        ("pg=1/cdn.example.com/a.mp3", "cdn.example.com/a.mp3"),
    ],
)
def test_what_is_stored_is_what_was_written_with_its_scheme_repaired(raw: str, stored: str) -> None:
    target = parse_target(raw.encode())
    assert isinstance(target, Target)
    assert target.stored == stored.encode()


def test_the_slip_of_arguments_behind_the_slash_is_kept_as_arguments() -> None:
    target = parse_target(b"pg=9b024349-ccf0-5f69-a609-6b82873eab3c//cdn.example.com/a.mp3?pg=2/")
    assert isinstance(target, Target)
    assert target.arguments == b"pg=9b024349-ccf0-5f69-a609-6b82873eab3c"
    assert target.path == b"/a.mp3"


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        (b"/e/cdn.example.com/a", (b"", b"cdn.example.com/a")),
        (b"/e//cdn.example.com/a", (b"", b"/cdn.example.com/a")),
        (b"/e,pg=1,x=2/cdn.example.com/a", (b"pg=1,x=2", b"cdn.example.com/a")),
        (b"/e,/cdn.example.com/a", (b"", b"cdn.example.com/a")),
        (b"/e%2Cpg%3D1/cdn.example.com/a%2Cb", (b"pg=1", b"cdn.example.com/a%2Cb")),
        (b"/e/", (b"", b"")),
        (b"/e", None),
        (b"/e?x", None),
        (b"/e,pg=1", None),
        (b"/e,pg=1?/cdn.example.com/a", None),
        (b"/E/cdn.example.com/a", None),
        (b"/ex/cdn.example.com/a", None),
        (b"/", None),
        (b"", None),
    ],
)
def test_a_path_is_split_into_arguments_and_target(path: bytes, parts: tuple[bytes, bytes] | None) -> None:
    assert split_prefix(path) == parts


printable = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="\\"), max_size=60)


@given(path=printable, scheme=st.sampled_from(["", "http://", "https://", "HTTPS:/", "http%3A%2F%2F"]))
def test_path_and_query_reach_the_target_byte_for_byte(path: str, scheme: str) -> None:
    target = parse_target(f"{scheme}cdn.example.com/{path}".encode())
    assert isinstance(target, Target)
    assert target.location.endswith(f"//cdn.example.com/{path}".encode())
    assert target.stored.endswith(f"cdn.example.com/{path}".encode())


@given(st.binary(max_size=80))
def test_no_bytes_whatever_break_the_grammar_or_a_header(raw: bytes) -> None:
    target = parse_target(raw)
    if isinstance(target, Target):
        assert not set(target.location) - set(range(0x21, 0x7F))
        assert target.host.encode() in target.location.lower() or b"[" in target.location
