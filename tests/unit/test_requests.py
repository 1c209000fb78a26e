"""Reading requests: however the bytes are cut, whatever players leave raw, and what is refused."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefix_redirect.requests import Limits, RequestReader, Stage, repair_line

Seen = tuple[bytes, bytes, bool, bool]


class Client:
    """Feeds a reader and keeps what it delivers: method, URL, whether it was repaired, whether it closes."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.headers: list[dict[bytes, bytes]] = []
        self.reader = RequestReader(self._take, Limits())

    def _take(self) -> None:
        reader = self.reader
        self.seen.append((reader.method, reader.url, reader.is_repaired, reader.closes))
        self.headers.append(dict(reader.headers))

    def feed(self, *pieces: bytes) -> int:
        for piece in pieces:
            status = self.reader.feed(piece) if piece else 0
            if status:
                return status
        return 0


def get(path: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join((b"GET " + path + b" HTTP/1.1", b"Host: pod.example.net", *headers, b"", b""))


STREAM = b"".join(
    (
        get(b"/e/cdn.example.com/1.mp3", b"User-Agent: one"),
        get("/e/cdn.example.com/Größe 2.mp3".encode(), b"User-Agent: two"),
        b"HEAD /e/cdn.example.com/3.mp3 HTTP/1.1\r\n\r\n",
        get(b"/e/cdn.example.com/4 four.mp3?a=b c"),
        get(b"/5.mp3", b"Connection: keep-alive"),
        get("/é".encode(), b"Connection: close"),
    )
)
EXPECTED: list[Seen] = [
    (b"GET", b"/e/cdn.example.com/1.mp3", False, False),
    (b"GET", b"/e/cdn.example.com/Gr%C3%B6%C3%9Fe%202.mp3", True, False),
    (b"HEAD", b"/e/cdn.example.com/3.mp3", False, False),
    (b"GET", b"/e/cdn.example.com/4%20four.mp3?a=b%20c", True, False),
    (b"GET", b"/5.mp3", False, False),
    (b"GET", b"/%C3%A9", True, True),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_requests_are_the_same_however_the_bytes_are_cut(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    client = Client()
    pieces = [STREAM[start:end] for start, end in itertools.pairwise(edges)]
    assert client.feed(*pieces) == 0
    assert client.seen == EXPECTED
    assert client.headers[1][b"user-agent"] == b"two"


def test_requests_are_the_same_byte_by_byte() -> None:
    client = Client()
    assert client.feed(*(bytes((byte,)) for byte in STREAM)) == 0
    assert client.seen == EXPECTED


def test_a_wish_to_upgrade_is_ignored() -> None:
    client = Client()
    upgrade = get(b"/1", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk")
    assert client.feed(upgrade + get("/ü".encode()) + get(b"/3")) == 0
    assert [url for _, url, _, _ in client.seen] == [b"/1", b"/%C3%BC", b"/3"]


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 5\r\n\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nUser-Agent: forged\r\n\r\n",
    ],
)
def test_a_body_is_read_and_ignored(body: bytes) -> None:
    client = Client()
    assert client.feed(b"POST /1 HTTP/1.1\r\nUser-Agent: true\r\n" + body + get(b"/2")) == 0
    assert [(method, url) for method, url, _, _ in client.seen] == [(b"POST", b"/1"), (b"GET", b"/2")]
    assert client.headers[0][b"user-agent"] == b"true"


@pytest.mark.parametrize(
    "head",
    [b"Content-Length: 1048577", b"Content-Length: 99999999999999", b"Expect: 100-continue\r\nContent-Length: 5",
     b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 5"],
)  # fmt: skip
def test_a_body_that_is_not_worth_waiting_for_closes_the_connection(head: bytes) -> None:
    client = Client()
    assert client.feed(b"POST /1 HTTP/1.1\r\n" + head + b"\r\n\r\n" + get(b"/2"), get(b"/3")) == 0
    assert client.seen == [(b"POST", b"/1", False, True)]


def test_a_chunked_body_is_read_up_to_its_bound() -> None:
    client = Client()
    chunk = b"10000\r\n" + bytes(65536) + b"\r\n"
    client.feed(b"POST /1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", *([chunk] * 16))
    assert client.seen == []
    client.feed(chunk)
    assert client.seen == [(b"POST", b"/1", False, True)]


@pytest.mark.parametrize(
    ("version", "headers", "closes", "is_old"),
    [
        (b"HTTP/1.1", b"", False, False),
        (b"HTTP/1.1", b"Connection: close\r\n", True, False),
        (b"HTTP/1.0", b"", True, True),
        (b"HTTP/1.0", b"Connection: keep-alive\r\n", False, True),
    ],
)
def test_connections_are_kept_as_the_version_says(version: bytes, headers: bytes, closes: bool, is_old: bool) -> None:
    client = Client()
    client.feed(b"GET / " + version + b"\r\n" + headers + b"\r\n")
    assert (client.reader.closes, client.reader.is_old) == (closes, is_old)
    assert len(client.seen) == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n",
        b"FOO / HTTP/1.1\r\n\r\n",
        b"GET /\x01 HTTP/1.1\r\n\r\n",
        "GET /é\x00 HTTP/1.1\r\n\r\n".encode(),
        b"GET / HTTP/2.0\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET /a b\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: \x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\nHost: x\n\n",
    ],
)
def test_what_is_no_request_is_400(raw: bytes) -> None:
    client = Client()
    assert client.feed(raw) == 400
    assert client.seen == []


@pytest.mark.parametrize("cut", [1, 7, 1000, 100_000])
def test_limits_are_kept_however_the_bytes_are_cut(cut: int) -> None:
    def status_of(raw: bytes) -> int:
        client = Client()
        return client.feed(*(raw[start : start + cut] for start in range(0, len(raw), cut)))

    longest = b"/" + b"a" * (8192 - len("GET / HTTP/1.1"))
    assert status_of(get(longest)) == 0
    assert status_of(get(longest + b"a")) == 414
    assert status_of(get("/é".encode() + b"a" * 8189)) == 414
    assert status_of(get("/é".encode() * 1300)) == 414  # once it is repaired
    assert status_of(get(b"/", *(b"A: b" for _ in range(99)))) == 0
    assert status_of(get(b"/", *(b"A: b" for _ in range(100)))) == 431
    assert status_of(get(b"/", b"A: " + b"b" * 16_000)) == 0
    assert status_of(get(b"/", b"A: " + b"b" * 16_384)) == 431


def test_an_endless_header_is_refused_before_it_ends() -> None:
    client = Client()
    assert client.feed(b"GET / HTTP/1.1\r\nA: ", *([b"b" * 1000] * 24)) == 0
    assert client.feed(*([b"b" * 1000] * 2)) == 431


@pytest.mark.parametrize("cut", [30, 9000, 15_000])
def test_a_body_before_it_is_no_part_of_a_head(cut: int) -> None:
    # Longer than any head may be, in one piece with the begin of the next request, whose head is cut at will.
    posted = b"POST /1 HTTP/1.1\r\nContent-Length: 60000\r\n\r\n" + b"x" * 60_000
    head = get(b"/2", b"A: " + b"b" * 7_900, b"C: " + b"d" * 7_900)
    client = Client()
    assert client.feed(posted + head[:cut], *(head[at : at + 1000] for at in range(cut, len(head), 1000))) == 0
    assert [url for _, url, _, _ in client.seen] == [b"/1", b"/2"]
    assert client.feed(posted + get(b"/3")[:-2], *([b"A: " + b"b" * 1000] * 25)) == 431


def test_the_stage_tells_idle_from_busy() -> None:
    client = Client()
    stages = []
    for piece in (
        b"GE",
        b"T / HTTP/1.1\r\n",
        b"Content-Length: 1\r\n\r\n",
        b"x",
        b"GET /\xc3",
        b"\xa9 HTTP/1.1\r\n\r\n",
    ):
        client.feed(piece)
        stages.append(client.reader.stage)
    assert stages == [Stage.HEAD, Stage.HEAD, Stage.BODY, Stage.BETWEEN, Stage.LINE, Stage.BETWEEN]


def test_headers_of_the_same_name_are_joined_only_where_all_count() -> None:
    client = Client()
    client.feed(get(b"/", b"X-Forwarded-For: 1.1.1.1", b"x-forwarded-for: 2.2.2.2", b"User-Agent: a", b"USER-AGENT: b"))
    assert client.headers == [
        {b"host": b"pod.example.net", b"x-forwarded-for": b"1.1.1.1, 2.2.2.2", b"user-agent": b"a"}
    ]


@pytest.mark.parametrize(
    ("path", "is_kept"),
    [(b"/", True), (b"/e", True), (b"/episode", True), (b"/go/offer", True), (b"http://a.example/e/x", True),
     (b"/e/cdn.example.com/1.mp3", False), (b"/e,pg=1/cdn.example.com/1.mp3", False)],
)  # fmt: skip
def test_the_host_is_kept_where_it_may_matter(path: bytes, is_kept: bool) -> None:
    client = Client()
    client.feed(get(path))
    assert client.headers == [{b"host": b"pod.example.net"} if is_kept else {}]


@given(st.binary(max_size=300))
def test_no_bytes_whatever_raise(raw: bytes) -> None:
    assert Client().feed(raw, raw) in (0, 400, 414, 431)


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=40))
def test_a_repaired_line_is_ascii_and_says_the_same(path: str) -> None:
    line = f"GET /{path.strip()} HTTP/1.1".encode()
    repaired = repair_line(line)
    assert repaired is not None
    assert repaired.isascii()
    assert repaired.count(b" ") == 2
