"""Replies by requests' bytes, and the one header that differs for each client behind a proxy."""

from __future__ import annotations

import pytest

from prefix_redirect.replies import Replies, Reply, part_forwarded

LINE = b"GET /e/cdn.example.com/a.mp3 HTTP/1.1\r\n"
REPLY = Reply(302, b"", False, None)


@pytest.mark.parametrize("value", [b"192.0.2.1", b"192.0.2.1, 10.0.0.1", b"2001:db8::1"])
def test_the_forwarded_address_is_taken_out_wherever_it_stands(value: bytes) -> None:
    header = b"X-Forwarded-For: " + value + b"\r\n"
    for before, after in ((b"", b""), (b"Host: a\r\n", b"Accept: */*\r\n")):
        parts = part_forwarded(LINE + before + header + after + b"\r\n")
        assert parts == (LINE + before + after + b"\r\n", value)


@pytest.mark.parametrize(
    "request_bytes",
    [
        LINE + b"\r\n",
        LINE + b"X-Forwarded-For: 1.1.1.1\r\n",
        LINE + b"X-Forwarded-For: 1.1.1.1",
        LINE + b"\r\nX-Forwarded-For: 1.1.1.1\r\n",
        LINE + b"\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n",
        LINE + b"X-Forwarded-For: 1.1.1.1\r\n\r\n" + LINE + b"\r\n",
        LINE + b"X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\n\r\n",
        LINE + b"X-Forwarded-For: 1.1.1.1\r\nx-forwarded-for:2.2.2.2\r\n\r\n",
        LINE + b"forwarded: for=2.2.2.2\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n",
        LINE + b"X-Forwarded-For: 1.1.1.1\r\n 2.2.2.2\r\nForwarded : for=2.2.2.2\r\n\r\n",
        LINE + b"X-Forwarded-For: \r\n\r\n",
        LINE + b"X-Forwarded-For: unknown\r\n\r\n",
        LINE + b"X-Forwarded-For: " + b"1" * 200 + b"\r\n\r\n",
        LINE + b"X-Forwarded-For: 1.1.1.1\nHost: b\r\n\r\n",
    ],
)
def test_what_is_not_plain_is_left_to_the_parser(request_bytes: bytes) -> None:
    assert part_forwarded(request_bytes) is None


def test_replies_are_bounded_in_number_and_size() -> None:
    replies = Replies(most=3)
    for number in range(10):
        replies.keep(b"%d" % number, REPLY)
        assert len(replies) <= 3
        assert replies.get(b"%d" % number) is REPLY
    replies.keep(b"x" * 2000, REPLY)
    assert replies.get(b"x" * 2000) is None
    none = Replies(most=0)
    none.keep(b"1", REPLY)
    assert none.get(b"1") is None
