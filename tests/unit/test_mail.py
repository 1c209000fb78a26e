"""A mail that can be made can be sent, and nothing in it becomes a header."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from analytics_core.errors import InvalidInput
from analytics_core.mail import MAX_SUBJECT, MAX_TEXT, Mail, check_address


@pytest.mark.parametrize(
    "address",
    [
        "ana@example.com",
        "ana+castledger@mail.example.co.uk",
        "o'brien@example.com",
        "a@xn--bcher-kva.example",
        "jürgen@bücher.example",
        "x" * 64 + "@example.com",
    ],
)
def test_addresses_that_can_be_written_to(address: str) -> None:
    assert check_address(address) == address
    assert Mail(address, "Hello", "Text").to == address


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ana",
        "@example.com",
        "ana@",
        "ana@localhost",
        "ana@example",
        "ana@-example.com",
        "ana@example-.com",
        "ana@example..com",
        "ana@.example.com",
        "ana@example.com.",
        "ana@example.c0m-",
        "ana@127.0.0.1",
        "ana@[127.0.0.1]",
        "ana@ex_ample.c_m@x",
        ".ana@example.com",
        "ana.@example.com",
        "a..na@example.com",
        "Ana <ana@example.com>",
        "ana@example.com, bob@example.com",
        "ana bob@example.com",
        '"ana"@example.com',
        "ana@example.com\n",
        "ana@example.com\r\nBcc: bob@example.com",
        "ana\0@example.com",
        "ana@exa\u2028mple.com",
        "x" * 65 + "@example.com",
        "ana@" + ".".join(["x" * 63] * 4) + ".com",
    ],
)
def test_addresses_that_cannot(address: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        check_address(address, path="/email")
    assert refusal.value.path == "/email"
    with pytest.raises(InvalidInput):
        Mail(address, "Hello", "Text")


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=MAX_SUBJECT))
def test_a_subject_is_one_line_of_any_characters(subject: str) -> None:
    assert Mail("ana@example.com", subject, "Text").subject.splitlines() == [subject]


@given(st.text(max_size=90), st.sampled_from("\r\n\0\v\f\x1b\x1c\x7f\x85\u2028\u2029"), st.text(max_size=90))
@example("Reset", "\n", "Bcc: bob@example.com")
def test_a_subject_with_what_ends_a_line_is_refused(before: str, end: str, after: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        Mail("ana@example.com", before + end + after, "Text")
    assert refusal.value.path == "subject"


@pytest.mark.parametrize("subject", ["", "x" * (MAX_SUBJECT + 1)])
def test_a_subject_has_a_length(subject: str) -> None:
    with pytest.raises(InvalidInput):
        Mail("ana@example.com", subject, "Text")


@pytest.mark.parametrize("text", ["", "a\rb", "a\0b", "\x1b[0m", "x" * (MAX_TEXT + 1)])
def test_a_text_has_an_end_and_no_control_characters(text: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        Mail("ana@example.com", "Hello", text)
    assert refusal.value.path == "text"
