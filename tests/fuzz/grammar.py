"""Requests as players, browsers, proxies and attackers write them: grammars with mistakes in every place."""

from __future__ import annotations

from hypothesis import strategies as st

from analytics_core.registry import Link, Registry
from analytics_core.settings import HostPolicyMode
from prefix_redirect.host_policy import HostPolicy

__all__ = ("REGISTRY", "policies", "requests", "targets")

SCHEMES = ["", "", "", "https://", "http://", "HTTPS://", "hTtP://", "https:/", "http:", "https%3A%2F%2F", "http%3a//"]
SCHEMES += [
    "ftp://",
    "javascript:",
    "//",
    "/",
    "https://https://",
    "http://https:/",
    "data:",
    "https:\\\\",
    "https:///",
]

HOSTS = ["cdn.example.com", "CDN.Example.com", "cdn.example.com.", "a_b.example.com", "known.example.com", "x.mp3"]
HOSTS += ["op3.dev/e/cdn.example.com", "op3.dev/e/10.0.0.1", "pdst.fm/e/op3.dev/e/evil.example.org", "dts.podtrac.com"]
HOSTS += [
    "dts.podtrac.com/redirect.mp3/cdn.example.com",
    "pod.example.net/e/cdn.example.com",
    "pod.example.net/go/offer",
]
HOSTS += ["127.0.0.1", "0x7f.1", "2130706433", "127.1", "0177.0.0.1", "8.8.8.8", "8.8.8", "1.2.3.4.", "010.8.8.8"]
HOSTS += ["1.2.3.4.5", "256.1.1.1", "0x08080808", "127.0.0.1.example.com", "example.0x7f", "a.08", "1e1.2"]
HOSTS += [
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[2606:4700::1111]",
    "[2606:4700::1111%25eth0]",
    "[::ffff:8.8.8.8]",
    "[::1",
    "::1",
]
HOSTS += ["[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[v1.fe80::a]", "[0:0:0:0:0:ffff:7f00:1]", "[]"]
HOSTS += [
    "localhost",
    "LOCALHOST",
    "printer.local",
    "a.test",
    "x.onion",
    "intranet",
    "-a.example.com",
    "a-.example.com",
]
HOSTS += [
    "xn--bcher-kva.example",
    "xn--bcher-kva.com",
    "xn--a.com",
    "xn--.com",
    "bücher.com",
    "ｅxample.com",
    "exa。mple.com",
]
HOSTS += [
    "a%2eexample.com",
    "%6c%6f%63alhost",
    "127%2e0.0.1",
    "cdn.example.com%00",
    "cdn.example.com%2F@evil.org",
    "é.com",
]
HOSTS += [
    "cdn..example.com",
    ".example.com",
    "example..",
    "",
    ".",
    "a" * 63 + ".com",
    "a" * 64 + ".com",
    ("a" * 60 + ".") * 4 + "com",
]
HOSTS += ["soft\u00adhyphen.com", "zero\u200bwidth.com", "faß.de", "ⓔxample.com", "１２７.0.0.1", "K.com", "ſ.com"]

AUTHORITY_ENDS = [
    "",
    "",
    "",
    "",
    ":443",
    ":8443",
    ":0",
    ":65536",
    ":080",
    ":",
    ":x",
    "@evil.example.org",
    "\\@evil.example.org",
]
AUTHORITY_ENDS += [
    "#@evil.example.org",
    "?@evil.example.org",
    ";evil",
    "\t.evil.org",
    "%09",
    "%5c@evil.org",
    ":443@evil.org",
]
USERS = ["", "", "", "", "", "user@", "user:password@", "%40", "evil.example.org@", "@"]
PATHS = [
    "",
    "/",
    "/a.mp3",
    "/a.MP3?x=1",
    "//a.mp3",
    "/../a.mp3",
    "/a/../../b.m4a",
    "/%2e%2e/a.mp3",
    "/a b.mp3",
    "/é.mp3",
]
PATHS += [
    "/a.mp3#x",
    "?a.mp3",
    "#a.mp3",
    "/a\\b.mp3",
    "/a.mp3\x00",
    "/a.mp3\r\nSet-Cookie: a=b",
    "/;a.mp3",
    "/a.mp3%0d%0aX: y",
]
PREFIXES = [
    "/e/",
    "/e/",
    "/e/",
    "/e//",
    "/e///",
    "/e,pg=9b024349-ccf0-5f69-a609-6b82873eab3c/",
    "/e/pg=1/",
    "/e,,=/",
    "/E/",
]
PREFIXES += [
    "/e%2Cpg%3D1/",
    "/e,pg=1,pg=2/",
    "http://pod.example.net/e/",
    "HTTP://x:1@y/e/",
    "/go/",
    "/go/offer",
    "/go/Click/",
]
PREFIXES += ["/robots.txt", "/", "*", "pod.example.net:443", "/e", "/e,", "/e?", "//e/", "/./e/", "/e;/", "/e/e/"]

pieces = st.sampled_from([*SCHEMES, *HOSTS, *USERS, *AUTHORITY_ENDS, *PATHS]) | st.text(max_size=3)
targets = st.builds(
    lambda prefix, parts, more: prefix + "".join(parts) + more,
    st.sampled_from(PREFIXES),
    st.tuples(st.sampled_from(SCHEMES), st.sampled_from(USERS), st.sampled_from(HOSTS), st.sampled_from(AUTHORITY_ENDS))
    | st.lists(pieces, max_size=6).map(tuple),
    st.sampled_from(PATHS) | st.lists(pieces, max_size=3).map("".join),
)
"""What stands between method and version."""

methods = st.sampled_from(["GET"] * 8 + ["HEAD", "OPTIONS", "POST", "get", "PROPFIND", "BREW", "", "G\x00T", "CONNECT"])
versions = st.sampled_from(
    ["HTTP/1.1"] * 8 + ["HTTP/1.0", "HTTP/2.0", "HTTP/0.9", "HTTP/1.1 ", "", "http/1.1", "RTSP/1.0"]
)
headers = st.sampled_from(
    [
        "Host: pod.example.net",
        "User-Agent: a",
        "User-Agent: \xff\xfe",
        "Range: bytes=0-1",
        "Accept: text/html",
        "Accept: */*;q=x",
        "Sec-Fetch-Dest: document",
        "Connection: close",
        "Connection: keep-alive",
        "Connection: upgrade",
        "Upgrade: h2c",
        "Upgrade: websocket",
        "HTTP2-Settings: AAMAAABkAAQAAP__",
        "Expect: 100-continue",
        "Content-Length: 3",
        "Content-Length: -1",
        "Content-Length: 99999999999999999999",
        "Content-Length: 3, 3",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "X-Forwarded-For: 9.9.9.9",
        "X-Forwarded-For: , ,",
        "x-forwarded-for:9.9.9.9, 6.6.6.6",
        "Forwarded: for=9.9.9.9;by=x, for=",
        "Castledger-Replay-Time: 1",
        "X: " + "y" * 300,
        ": empty",
        "no colon",
        " folded: x",
        "X\x00Y: z",
        "Referer: https://example.com/\x7f",
    ]
)
bodies = st.sampled_from(["", "", "", "abc", "3\r\nabc\r\n0\r\n\r\n", "zz\r\n", "0\r\nTrailer: x\r\n\r\n"])
ends = st.sampled_from(["\r\n"] * 12 + ["\n", "\r", ""])

requests = st.builds(
    lambda method, target, version, lines, end, body: "".join(
        (method, " ", target, " ", version, end, *(line + end for line in lines), end, body)
    ).encode("utf-8", "surrogatepass"),
    methods,
    targets,
    versions,
    st.lists(headers, max_size=5),
    ends,
    bodies,
)
"""A request, whole or broken."""

REGISTRY = Registry(
    hosts=frozenset({"known.example.com", "cdn.example.com"}),
    deny_hosts=frozenset({"evil.example.org"}),
    own_hosts=frozenset({"pod.example.net"}),
    links={"offer": Link("https://shop.example.com/?a=1#b"), "click": Link("https://shop.example.com/x", True)},
)
policies = st.sampled_from(list(HostPolicyMode)).map(lambda mode: HostPolicy(REGISTRY, mode=mode))
