"""Formats of access logs: what a host writes is read as the request that it was, and damage never raises."""

from __future__ import annotations

import datetime as dt
import json
import tempfile
from pathlib import Path
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.addresses import V4_MAPPED, format_address, pack_address
from analytics_core.errors import InvalidInput
from analytics_core.hits import Hit, HitFlag, Method
from analytics_core.log_formats import LogFormat, Skip, line_parser
from castledger_server.spool_commands import record_lines
from tests.factories import micros, write_segment

HOST = "cdn.example.com"
AT = dt.datetime(2026, 11, 2, 11, 0, 5, tzinfo=dt.UTC)
NGINX = b'192.0.2.1 - - [02/Nov/2026:12:00:05 +0100] "GET /a.mp3?x=1 HTTP/1.1" 200 28800000 "-" "Overcast/3.0"'
NAMES = (
    "date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status cs(Referer) cs(User-Agent) "
    "cs-uri-query x-host-header sc-content-len sc-range-start sc-range-end"
)
FIELDS = f"#Fields: {NAMES}".encode()
CLOUDFRONT = (
    b"2026-11-02 11:00:05 FRA2 900 2001:db8::1 GET d1.cloudfront.net /a.mp3 206 - Overcast/3.0%20(+http://x) "
    b"x=1 media.example.org 1000 500 1499"
).replace(b" ", b"\t")

# What a request can hold: all bytes but control characters; a lone hyphen is how logs write that there is nothing.
BYTES = [bytes((code,)) for code in range(0x100) if (code >= 0x20 and code != 0x7F) or code == 0x09]
texts = st.lists(st.sampled_from(BYTES), max_size=40).map(b"".join).filter(lambda text: text != b"-")
words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20).map(str.encode)
paths = st.text("abcXYZ019._~-/%", max_size=20).map(lambda text: b"/" + text.encode())
addresses = st.one_of(
    st.binary(min_size=16, max_size=16), st.binary(min_size=4, max_size=4).map(lambda four: V4_MAPPED + four)
)
LATEST_S = micros(AT) // 10**6
seconds = st.integers(0, LATEST_S).map(lambda number: number * 10**6)


def instant(hit: Hit) -> dt.datetime:
    return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=hit.at_us)


def escaped(text: bytes) -> bytes:
    """Write a variable as nginx does by default."""
    return b"".join(b"\\x%02X" % code if code in b'"\\' or not 32 <= code < 127 else bytes((code,)) for code in text)


@given(
    st.builds(
        Hit,
        at_us=seconds,
        address=addresses,
        target=texts.map(lambda text: b"cdn.example.com/" + text),
        agent=texts,
        referrer=texts,
        method=st.sampled_from(Method),
        byte_range=st.just(b""),
        status=st.sampled_from([200, 302]),
    ),
    st.integers(-14 * 60, 14 * 60),
    st.sampled_from([b"", b' "192.0.2.9" rt=0.003']),
)
def test_what_nginx_writes_is_read(hit: Hit, zone: int, behind: bytes) -> None:
    local = instant(hit).astimezone(dt.timezone(dt.timedelta(minutes=zone)))
    line = b'%s - some one [%s] "%s %s HTTP/2.0" %d 77 "%s" "%s"%s' % (
        format_address(hit.address).encode(),
        f"{local:%d/%b/%Y:%H:%M:%S %z}".encode(),
        hit.method.name.encode(),
        escaped(hit.target.removeprefix(HOST.encode())),
        hit.status,
        escaped(hit.referrer) or b"-",
        escaped(hit.agent) or b"-",
        behind,
    )
    assert line_parser(LogFormat.NGINX, host=HOST)(line) == hit


@given(
    st.builds(
        Hit,
        at_us=seconds,
        address=addresses,
        target=st.tuples(paths, st.sampled_from([b"", b"?x=1&y=%20"])).map(
            lambda parts: b"h.example.com" + b"".join(parts)
        ),
        agent=texts,
        referrer=texts,
        method=st.sampled_from(Method),
        byte_range=st.tuples(st.integers(0, 2**40), st.integers(0, 2**40)).map(lambda ends: b"bytes=%d-%d" % ends),
        status=st.just(206),
    ),
    st.booleans(),
)
def test_what_cloudfront_writes_is_read(hit: Hit, is_told: bool) -> None:
    host, slash, rest = hit.target.decode().partition("/")
    path, _, query = f"{slash}{rest}".partition("?")
    first, last = hit.byte_range.decode().removeprefix("bytes=").split("-")
    cells = {
        "date": f"{instant(hit):%Y-%m-%d}",
        "time": f"{instant(hit):%H:%M:%S}",
        "c-ip": format_address(hit.address),
        "cs-method": hit.method.name,
        "cs-uri-stem": path,
        "cs-uri-query": query or "-",
        "sc-status": str(hit.status),
        "cs(Referer)": quote_from_bytes(hit.referrer) or "-",
        "cs(User-Agent)": quote_from_bytes(hit.agent) or "-",
        "x-host-header": "-" if is_told else host,
        "sc-range-start": first,
        "sc-range-end": last,
    }
    read = line_parser(LogFormat.CLOUDFRONT, host=host if is_told else None)
    assert [read(line) for line in (b"#Version: 1.0", FIELDS, b"")] == [None, None, None]
    assert read("\t".join(cells.get(name, "-") for name in NAMES.split()).encode()) == hit


@given(
    st.lists(
        st.builds(
            Hit,
            at_us=st.integers(0, micros(AT)),
            address=addresses,
            target=words,
            arguments=words,
            agent=words,
            referrer=words,
            byte_range=words,
            method=st.sampled_from(Method),
            flags=st.integers(0, 15).map(lambda bits: bits | HitFlag.LINE_REPAIRED),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_what_spool_cat_prints_is_read(hits: list[Hit]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lines = list(record_lines(write_segment(Path(folder), hits), addresses=True))
    assert [line_parser(LogFormat.CASTLEDGER, host=None)(line) for line in lines] == hits


@given(
    st.sampled_from(LogFormat),
    st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda t: t.encode("utf-8", "replace"))),
)
def test_no_line_raises(form: LogFormat, line: bytes) -> None:
    read = line_parser(form, host=HOST if form is LogFormat.NGINX else None)
    assert read(line) is None or isinstance(read(line), Hit | Skip)


def json_line(**changed: object) -> bytes:
    told: dict[str, object] = {
        "at": "2026-11-02T11:00:05Z",
        "address": "192.0.2.1",
        "method": "GET",
        "target": "x.example/a",
    }
    return json.dumps({**told, **changed}).encode()


@pytest.mark.parametrize(
    ("form", "line", "why"),
    [
        (LogFormat.NGINX, NGINX.replace(b"02/Nov", b"31/Nov"), Skip.MALFORMED),
        (LogFormat.NGINX, NGINX.replace(b"Nov", b"nov"), Skip.MALFORMED),
        (LogFormat.NGINX, NGINX.replace(b"+0100", b"+2500"), Skip.MALFORMED),
        (LogFormat.NGINX, NGINX[:-1], Skip.MALFORMED),
        (LogFormat.NGINX, NGINX.replace(b"/a.mp3", rb"/a\x00.mp3"), Skip.MALFORMED),
        (LogFormat.NGINX, NGINX.replace(b"GET /a.mp3?x=1 HTTP/1.1", b"GET *  HTTP/1.1"), Skip.MALFORMED),
        (
            LogFormat.NGINX,
            NGINX.replace(b"GET /a.mp3?x=1 HTTP/1.1", rb"\x16\x03\x01").replace(b" 200 ", b" 400 "),
            Skip.STATUS,
        ),
        (LogFormat.NGINX, NGINX.replace(b" 200 ", b" 304 "), Skip.STATUS),
        (LogFormat.NGINX, NGINX.replace(b"GET", b"POST"), Skip.METHOD),
        (LogFormat.NGINX, NGINX.replace(b"192.0.2.1", b"unix:"), Skip.ADDRESS),
        (LogFormat.NGINX, NGINX.replace(b"x=1", b"x" * 9_000), Skip.TOO_LONG),
        (LogFormat.CLOUDFRONT, CLOUDFRONT.replace(b"\tFRA2", b""), Skip.MALFORMED),
        (LogFormat.CLOUDFRONT, CLOUDFRONT.replace(b"2026-11-02", b"2026-11-31"), Skip.MALFORMED),
        (LogFormat.CLOUDFRONT, CLOUDFRONT.replace(b"media.example.org", b"-"), Skip.HOST),
        (LogFormat.CLOUDFRONT, CLOUDFRONT.replace(b"\t206", b"\t000"), Skip.STATUS),
        (LogFormat.CASTLEDGER, json_line(at="2026-11-02T11:00:05"), Skip.MALFORMED),
        (LogFormat.CASTLEDGER, json_line(target=7), Skip.MALFORMED),
        (LogFormat.CASTLEDGER, json_line(kind="visit"), Skip.MALFORMED),
        (LogFormat.CASTLEDGER, json_line(target="x\n"), Skip.MALFORMED),
        (LogFormat.CASTLEDGER, b'{"x":' + b"[" * 60_000, Skip.MALFORMED),
        (LogFormat.CASTLEDGER, json_line(kind="click"), Skip.CLICK),
        (LogFormat.CASTLEDGER, json_line(address="192.0.2.0/24"), Skip.ADDRESS),
    ],
)
def test_what_is_no_hit_is_told_by_reason(form: LogFormat, line: bytes, why: Skip) -> None:
    read = line_parser(form, host=HOST if form is LogFormat.NGINX else None)
    if form is LogFormat.CLOUDFRONT:
        assert read(line) is Skip.MALFORMED, "without the names of its columns no line can be read"
        read(FIELDS)
    assert read(line) is why


@pytest.mark.parametrize(
    ("line", "byte_range"),
    [
        (NGINX.replace(b" 200 28800000", b" 206 2"), b"bytes=0-1"),
        (NGINX.replace(b" 200 28800000", b" 206 -"), b"bytes=0-0"),
        (NGINX.replace(b" 200 28800000", b" 206 0"), b"bytes=0-0"),
        (NGINX.replace(b" 200 28800000", b" 200 -"), b""),
    ],
)
def test_a_partial_answer_is_as_much_as_was_sent(line: bytes, byte_range: bytes) -> None:
    hit = line_parser(LogFormat.NGINX, host=HOST)(line)
    assert isinstance(hit, Hit)
    assert hit.byte_range == byte_range
    assert (hit.target, hit.at_us, hit.address) == (b"cdn.example.com/a.mp3?x=1", micros(AT), pack_address("192.0.2.1"))


def test_cloudfronts_range_is_the_answers() -> None:
    read = line_parser(LogFormat.CLOUDFRONT, host=None)
    read(FIELDS)
    hit = read(CLOUDFRONT)
    assert isinstance(hit, Hit)
    assert (hit.byte_range, hit.target, hit.at_us) == (b"bytes=500-1499", b"media.example.org/a.mp3?x=1", micros(AT))
    assert hit.agent == b"Overcast/3.0 (+http://x)"
    without = read(CLOUDFRONT.replace(b"\t500\t1499", b"\t-\t-"))
    assert isinstance(without, Hit)
    assert without.byte_range == b"bytes=0-999"


def test_apaches_escapes_are_undone() -> None:
    hit = line_parser(LogFormat.NGINX, host=HOST)(NGINX.replace(b"Overcast/3.0", rb"\"Caf\xc3\xa9\" \\o/"))
    assert isinstance(hit, Hit)
    assert hit.agent == '"Café" \\o/'.encode()


def test_a_request_with_a_whole_address_keeps_it() -> None:
    hit = line_parser(LogFormat.NGINX, host=HOST)(NGINX.replace(b"GET /", b"GET http://other.example.com/"))
    assert isinstance(hit, Hit)
    assert hit.target == b"http://other.example.com/a.mp3?x=1"


def caddy_line(**changes: object) -> bytes:
    """Write what Caddy writes of a request, other parts of it left out."""
    request = {
        "remote_ip": "198.51.100.1",
        "remote_port": "41342",
        "client_ip": "192.0.2.1",
        "proto": "HTTP/2.0",
        "method": "GET",
        "host": HOST,
        "uri": "/a.mp3?x=1",
        "headers": {
            "User-Agent": ["Overcast/3.0"],
            "Accept": ["*/*"],
            "Range": ["bytes=0-1"],
            "Referer": ["https://x"],
        },
        **{name: value for name, value in changes.items() if name not in ("ts", "status", "size")},
    }
    said = {"level": "info", "ts": 1793617205.25, "logger": "http.log.access", "msg": "handled request"}
    said |= {"request": request, "user_id": "", "duration": 0.1, "size": 2, "status": 206}
    return json.dumps(
        {**said, **{name: changes[name] for name in ("ts", "status", "size") if name in changes}}
    ).encode()


@pytest.mark.parametrize("ts", [1793617205.25, "2026-11-02T11:00:05.250Z", "2026-11-02T12:00:05.25+01:00"])
def test_what_caddy_writes_is_read(ts: float | str) -> None:
    expected = Hit(
        at_us=micros(AT) + 250_000,
        address=pack_address("192.0.2.1"),
        target=b"cdn.example.com/a.mp3?x=1",
        agent=b"Overcast/3.0",
        referrer=b"https://x",
        byte_range=b"bytes=0-1",
        status=206,
    )
    read = line_parser(LogFormat.CADDY, host=None)
    assert read(caddy_line(ts=ts)) == expected
    # Of what came before addresses behind proxies were told, and of a log without headers.
    old = read(caddy_line(ts=ts, client_ip="", headers={}, size=9))
    assert isinstance(old, Hit)
    assert (old.address, old.agent, old.byte_range) == (pack_address("198.51.100.1"), b"", b"bytes=0-8")
    named = line_parser(LogFormat.CADDY, host="media.example.org")(caddy_line(ts=ts))
    assert isinstance(named, Hit)
    assert named.target == b"media.example.org/a.mp3?x=1"
    assert read(b'{"level":"info","ts":1793617205.2,"msg":"serving initial configuration"}') is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"ts": "2026-11-02T11:00:05"}, Skip.MALFORMED),
        ({"ts": 1e300}, Skip.MALFORMED),
        ({"ts": "soon"}, Skip.MALFORMED),
        ({"uri": "a.mp3"}, Skip.MALFORMED),
        ({"headers": {"User-Agent": "x"}}, Skip.MALFORMED),
        ({"host": ""}, Skip.HOST),
        ({"status": 404}, Skip.STATUS),
        ({"method": "PUT"}, Skip.METHOD),
        ({"client_ip": "REDACTED"}, Skip.ADDRESS),
    ],
)
def test_what_caddy_says_of_no_hit_is_told_by_reason(changes: dict[str, object], why: Skip) -> None:
    assert line_parser(LogFormat.CADDY, host=None)(caddy_line(**changes)) is why


def test_hosts_are_asked_for_where_they_are_needed() -> None:
    with pytest.raises(InvalidInput, match="--host: is needed"):
        line_parser(LogFormat.NGINX, host=None)
    with pytest.raises(InvalidInput, match="--host: is not for this format"):
        line_parser(LogFormat.CASTLEDGER, host=HOST)
