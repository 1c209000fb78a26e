"""Decisions: good, not ours, invalid, for every outcome of the tracker's contract."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.enclosures import identify
from analytics_core.hits import HitKind
from analytics_core.links import UTM, format_click_id
from analytics_core.registry import Link, Registry
from prefix_redirect.decisions import Decider, Decision, decide, refuse, status_line
from prefix_redirect.host_policy import HostPolicy

POLICY = HostPolicy(
    Registry(
        hosts=frozenset({"known.example.com"}),
        click_keys=frozenset({identify("https://known.example.com/1.mp3").key.hex}),
        links={
            "offer": Link("https://shop.example.com/?utm_source=pod&x=a b"),
            "umlaut": Link("https://shop.example.com/Größe"),
            "script": Link("javascript:alert(1)"),
            "split": Link("https://shop.example.com/\r\nSet-Cookie: a=b"),
            "long": Link("https://shop.example.com/" + "a" * 9000),
        },
    )
)
GUID = "9b024349-ccf0-5f69-a609-6b82873eab3c"


def ask(raw: str, method: str = "GET", *, navigation: bool = False) -> Decision:
    return decide(method.encode(), raw.encode(), navigation=navigation, policy=POLICY)


def header(decision: Decision, name: str) -> str | None:
    lines = dict(line.split(": ", 1) for line in decision.headers.decode("ascii").split("\r\n") if line)
    return lines.get(name)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("raw", "location", "arguments", "target"),
    [
        ("/e/known.example.com/x", "https://known.example.com/x", "", "known.example.com/x"),
        (f"/e,pg={GUID}/n.example.org/1.mp3?/", "https://n.example.org/1.mp3?/", f"pg={GUID}", "n.example.org/1.mp3?/"),
        ("/e,what=ever,,=/n.example.org/1.mp3", "https://n.example.org/1.mp3", "what=ever,,=", "n.example.org/1.mp3"),
        ("/e//new.example.org/1.mp3", "https://new.example.org/1.mp3", "", "new.example.org/1.mp3"),
        (f"/e/pg={GUID}/new.example.org/1.mp3", "https://new.example.org/1.mp3", f"pg={GUID}", "new.example.org/1.mp3"),
        ("/e/http:/new.example.org/1.mp3", "http://new.example.org/1.mp3", "", "http://new.example.org/1.mp3"),
        ("http://pod.example.net/e/n.example.org/1.mp3", "https://n.example.org/1.mp3", "", "n.example.org/1.mp3"),
        ("HTTPS://pod.example:8443/e/n.example.org/1.mp3", "https://n.example.org/1.mp3", "", "n.example.org/1.mp3"),
    ],
)  # fmt: skip
def test_a_good_request_is_redirected_and_recorded(
    method: str, raw: str, location: str, arguments: str, target: str
) -> None:
    decision = ask(raw, method)
    assert decision.status == 302
    assert decision.headers.decode() == (
        f"Location: {location}\r\nCache-Control: private, no-cache\r\n"
        "Access-Control-Allow-Origin: *\r\nContent-Length: 0\r\n"
    )
    assert decision.body == b""
    assert decision.record
    assert (decision.arguments.decode(), decision.target.decode()) == (arguments, target)
    assert decision.kind == HitKind.REQUEST


@pytest.mark.parametrize(
    "raw",
    ["/", "/e", "/e?x", "/e,pg=1", "/E/known.example.com/1.mp3", "/favicon.ico", "/go", "/robots.txt/x", "/health/live",
     "/metrics", "/internal/tls-ask?domain=x", "*", "pod.example.net:443", "e/known.example.com/1.mp3", "",
     "http://pod.example.net", "/e/new.example.org/login", "/e/new.example.org"],
)  # fmt: skip
def test_what_is_not_ours_is_404_in_plain_words_and_not_recorded(raw: str) -> None:
    decision = ask(raw)
    assert decision.status == 404
    assert header(decision, "Content-Type") == "text/plain; charset=utf-8"
    assert header(decision, "Content-Length") == str(len(decision.body))
    assert len(decision.body) > 20
    assert not decision.record


@pytest.mark.parametrize(
    "raw",
    ["/e/", "/e//", "/e,pg=1/", "/e/localhost/1.mp3", "/e/127.0.0.1/1.mp3", "/e/[::1]/1.mp3", "/e/nas.local/1.mp3",
     "/e/a.example/1.mp3", "/e/intranet/1.mp3", "/e/u@known.example.com/1.mp3", "/e/known.example.com:0/1.mp3",
     "/e/known.example.com:99999/1.mp3", "/e/https://https://known.example.com/1.mp3", "/e/a..b/1.mp3",
     "/e/known.example.com\\x/1.mp3", "/e/known.example.com/\x01.mp3", "/e/ftp://known.example.com/1.mp3"],
)  # fmt: skip
def test_an_invalid_target_is_400_and_not_recorded(raw: str) -> None:
    decision = ask(raw)
    assert decision.status == 400
    assert header(decision, "Location") is None
    assert not decision.record


def test_a_browser_is_redirected_only_to_a_registered_enclosure() -> None:
    assert ask("/e/known.example.com/1.mp3", navigation=True).status == 302
    refused = ask("/e/known.example.com/2.mp3", navigation=True)
    assert refused.status == 404
    assert b"browser" in refused.body


@pytest.mark.parametrize("raw", ["/e/known.example.com/1.mp3", "/", "*", "/robots.txt"])
def test_options_are_answered_with_what_players_may_do(raw: str) -> None:
    decision = ask(raw, "OPTIONS")
    assert decision.status == 204
    assert header(decision, "Access-Control-Allow-Origin") == "*"
    assert header(decision, "Access-Control-Allow-Methods") == "GET, HEAD"
    assert header(decision, "Access-Control-Allow-Headers") == "*"
    assert header(decision, "Access-Control-Max-Age") == "86400"
    assert header(decision, "Content-Length") is None
    assert not decision.record


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "CONNECT", "TRACE", "PROPFIND", "get"])
def test_other_methods_are_405(method: str) -> None:
    decision = ask("/e/known.example.com/1.mp3", method)
    assert decision.status == 405
    assert header(decision, "Allow") == "GET, HEAD, OPTIONS"
    assert not decision.record


@pytest.mark.parametrize("raw", ["/robots.txt", "/robots.txt?x"])
def test_robots_are_sent_away(raw: str) -> None:
    decision = ask(raw)
    assert (decision.status, decision.body) == (200, b"User-agent: *\nDisallow: /\n")


@pytest.mark.parametrize(
    ("raw", "location"),
    [
        ("/go/offer", "https://shop.example.com/?utm_source=pod&x=a%20b"),
        ("/go/offer?x=1", "https://shop.example.com/?utm_source=pod&x=a%20b"),
        ("/go/Offer/", "https://shop.example.com/?utm_source=pod&x=a%20b"),
        (
            "/go/offer?utm_source=ep+7&utm_term=%C3%BC#x",
            "https://shop.example.com/?utm_source=ep%207&x=a%20b&utm_term=%C3%BC%23x",
        ),
        ("/go/umlaut", "https://shop.example.com/Gr%C3%B6%C3%9Fe"),
        ("/go/split", "https://shop.example.com/%0D%0ASet-Cookie:%20a=b"),
    ],
)
def test_a_link_is_redirected_and_recorded_as_a_click(raw: str, location: str) -> None:
    decision = ask(raw)
    assert decision.status == 302
    assert header(decision, "Location") == location
    assert decision.record
    assert decision.kind == HitKind.CLICK
    assert decision.arguments == b"go=" + raw[4:].partition("?")[0].lower().strip("/").encode()


def test_a_click_has_an_id_of_its_own_where_the_target_is_told_one() -> None:
    ids = iter(UUID(int=number) for number in range(1, 4))
    link = Link("https://shop.example.com/?cl_click=made-up#top", True)
    decider = Decider(HostPolicy(Registry(links={"offer": link})), new_click=lambda: next(ids))
    for number in range(1, 4):
        decision = decider.decide(b"GET", b"/go/offer", navigation=True)
        text = format_click_id(UUID(int=number))
        assert header(decision, "Location") == f"https://shop.example.com/?cl_click={text}#top"
        assert decision.arguments == f"go=offer,click={text}".encode()
    assert len(decider) == 0


def test_ids_of_clicks_have_nothing_in_common() -> None:
    decider = Decider(HostPolicy(Registry(links={"offer": Link("https://shop.example.com/", True)})))
    made = [decider.decide(b"GET", b"/go/offer", navigation=True).arguments.partition(b"click=")[2] for _ in range(20)]
    # Those that begin with the time, or count, are alike at their beginning.
    assert len({text[:8] for text in made}) == 20


def test_a_link_to_a_denied_host_leads_nowhere() -> None:
    links = {"offer": Link("https://a.Evil.example.com./x"), "good": Link("https://shop.example.com/evil.example.com")}
    policy = HostPolicy(Registry(links=links, deny_hosts=frozenset({"evil.example.com"})))
    denied = decide(b"GET", b"/go/offer", navigation=True, policy=policy)
    assert (denied.status, denied.record) == (404, False)
    assert b"does not redirect to that host" in denied.body
    assert decide(b"GET", b"/go/good", navigation=True, policy=policy).status == 302


def test_parameters_of_a_request_that_are_too_long_do_not_cost_it_its_way() -> None:
    policy = HostPolicy(Registry(links={"offer": Link("https://shop.example.com/?utm_source=show", True)}))
    query = "&".join(f"utm_{name}=" + "%FF" * 200 for name in UTM)
    ids = iter([UUID(int=1)])
    decision = decide(
        b"GET", f"/go/offer?{query}".encode(), navigation=True, policy=policy, new_click=lambda: next(ids)
    )
    assert header(decision, "Location") == (
        f"https://shop.example.com/?utm_source=show&cl_click={format_click_id(UUID(int=1))}"
    )


@pytest.mark.parametrize("slug", ["nothing", "", "/offer", "offer//", "offer%2F", "script", "long", "\xff"])
def test_an_unknown_link_is_404_in_plain_words(slug: str) -> None:
    decision = ask(f"/go/{slug}")
    assert decision.status == 404
    assert b"no such link" in decision.body
    assert not decision.record


VANITY = HostPolicy(
    Registry(
        hosts=frozenset({"known.example.com"}),
        links={
            "acme": Link("https://shop.example.com/?utm_source=pod"),
            "told": Link("https://shop.example.com/", True),
            "evil": Link("https://evil.example.com/"),
        },
        vanity_hosts={
            "acme.show.example.net": "acme",
            "told.show.example.net": "told",
            "evil.show.example.net": "evil",
            "gone.show.example.net": "gone",
        },
        deny_hosts=frozenset({"evil.example.com"}),
    )
)


def ask_host(host: str, raw: str = "/", method: str = "GET") -> Decision:
    return decide(
        method.encode(), raw.encode(), navigation=True, policy=VANITY, host=host.encode(), new_click=lambda: UUID(int=1)
    )


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("host", "raw", "location"),
    [
        ("acme.show.example.net", "/", "https://shop.example.com/?utm_source=pod"),
        ("ACME.Show.example.net", "/any/path/at all", "https://shop.example.com/?utm_source=pod"),
        ("acme.show.example.net.", "/index.html?x=1&next=https://evil.example.com/", "https://shop.example.com/?utm_source=pod"),
        ("acme.show.example.net:8443", "/?utm_source=ep+7", "https://shop.example.com/?utm_source=ep%207"),
        ("acme.show.example.net", "/favicon.ico?utm_medium=qr", "https://shop.example.com/?utm_source=pod&utm_medium=qr"),
        ("acme.show.example.net", "//evil.example.com/", "https://shop.example.com/?utm_source=pod"),
        ("acme.show.example.net", "/e", "https://shop.example.com/?utm_source=pod"),
        ("acme.show.example.net", "/gone", "https://shop.example.com/?utm_source=pod"),
        # RFC 9112 3.2.2: the host of a whole URL in the request line is the one that is meant.
        ("pod.example.net", "http://acme.show.example.net", "https://shop.example.com/?utm_source=pod"),
        ("told.show.example.net", "https://Acme.show.example.net:443/x?utm_term=a", "https://shop.example.com/?utm_source=pod&utm_term=a"),
    ],
)  # fmt: skip
def test_a_vanity_host_leads_to_its_link_whatever_path_is_asked_for(
    method: str, host: str, raw: str, location: str
) -> None:
    decision = ask_host(host, raw, method)
    assert (decision.status, header(decision, "Location")) == (302, location)
    assert header(decision, "Cache-Control") == "private, no-cache"
    assert (decision.record, decision.kind, decision.arguments) == (True, HitKind.CLICK, b"go=acme")


def test_a_click_on_a_vanity_host_has_an_id_where_its_target_is_told_one() -> None:
    decision = ask_host("told.show.example.net", "/x")
    text = format_click_id(UUID(int=1))
    assert header(decision, "Location") == f"https://shop.example.com/?cl_click={text}"
    assert decision.arguments == f"go=told,click={text}".encode()


@pytest.mark.parametrize(
    "host",
    ["", "show.example.net", "x.acme.show.example.net", "acme.show.example.net.evil.example.org", "[::1]:80",
     "acme.show.example.net@evil.example.org", "evil.example.org:acme.show.example.net", "*.show.example.net",
     "acme.show.example.net..", "acme.show.example.net\t", "acme.show.example.net, pod.example.net", "ÿþ"],
)  # fmt: skip
def test_a_host_that_is_not_registered_leads_nowhere(host: str) -> None:
    decision = ask_host(host)
    assert (decision.status, header(decision, "Location"), decision.record) == (404, None, False)


@pytest.mark.parametrize(
    ("host", "raw", "method", "status"),
    [
        ("acme.show.example.net", "/robots.txt", "GET", 200),
        ("acme.show.example.net", "/e/known.example.com/1.mp3", "GET", 404),
        ("acme.show.example.net", "/e/", "GET", 400),
        ("acme.show.example.net", "/e,pg=1", "GET", 404),
        ("acme.show.example.net", "/go/nothing", "GET", 404),
        ("acme.show.example.net", "/", "POST", 405),
        ("acme.show.example.net", "/", "OPTIONS", 204),
        ("pod.example.net", "http://pod.example.net/", "GET", 404),
        ("acme.show.example.net", "http://pod.example.net/", "GET", 404),
        ("evil.show.example.net", "/", "GET", 404),
        ("gone.show.example.net", "/", "GET", 404),
    ],
)
def test_all_else_is_on_a_vanity_host_as_on_any(host: str, raw: str, method: str, status: int) -> None:
    decision = ask_host(host, raw, method)
    assert (decision.status, decision.record) == (status, False)


def test_prefixes_and_links_work_under_a_vanity_host() -> None:
    raw = b"/e/known.example.com/1.mp3"
    episode = decide(b"GET", raw, navigation=False, policy=VANITY, host=b"acme.show.example.net")
    assert (episode.status, episode.kind) == (302, HitKind.REQUEST)
    other = decide(b"GET", b"/go/told", navigation=True, policy=VANITY, host=b"acme.show.example.net")
    assert (other.status, other.arguments[:7]) == (302, b"go=told")


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"acme.show.example.net", b"told.show.example.net", b"pod.example.net", b""]),
            st.sampled_from(
                [b"/", b"/x", b"/robots.txt", b"/e/known.example.com/1.mp3", b"/go/acme", b"/go/no", b"/e/"]
            ),
            st.booleans(),
        ),
        max_size=20,
    )
)
def test_what_is_remembered_under_one_host_is_not_answered_under_another(
    asked: list[tuple[bytes, bytes, bool]],
) -> None:
    decider = Decider(VANITY, new_click=lambda: UUID(int=1))
    for host, raw, navigation in asked:
        assert decider.decide(b"GET", raw, navigation=navigation, host=host) == decide(
            b"GET", raw, navigation=navigation, policy=VANITY, host=host, new_click=lambda: UUID(int=1)
        )


@pytest.mark.parametrize("status", [400, 408, 414, 431])
def test_a_request_that_cannot_be_read_has_an_answer(status: int) -> None:
    assert refuse(status).status == status
    assert status_line(status).startswith(b"HTTP/1.1 %d " % status)


@given(
    raw=st.binary(max_size=60),
    prefix=st.sampled_from([b"", b"/", b"/e/", b"/e,", b"/go/", b"http://acme.show.example.net/"]),
    navigation=st.booleans(),
    host=st.binary(max_size=20) | st.just(b"acme.show.example.net"),
)
def test_any_bytes_get_one_of_the_listed_answers(raw: bytes, prefix: bytes, navigation: bool, host: bytes) -> None:
    decision = decide(b"GET", prefix + raw, navigation=navigation, policy=VANITY, host=host)
    assert decision.status in (200, 302, 400, 404)
    assert not {*decision.headers} - {*range(0x20, 0x7F), 13, 10}
    assert decision.record == (decision.status == 302)


def test_a_decider_remembers_in_bounds_and_answers_as_the_function_does() -> None:
    decider = Decider(POLICY, remembered=8)
    for _ in range(2):
        for number in range(30):
            for navigation in (False, True):
                for method in (b"GET", b"HEAD", b"POST"):
                    raw = b"/e/known.example.com/%d.mp3" % number
                    assert decider.decide(method, raw, navigation=navigation) == decide(
                        method, raw, navigation=navigation, policy=POLICY
                    )
                assert len(decider) <= 16
