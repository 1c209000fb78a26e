"""Each middleware in its framework: what a request brings reaches its view, its stream, and nobody else's."""

from __future__ import annotations

import httpx
import pytest

from castledger import ConfigurationError
from sdk.tests.integrations.shops import SHOPS, Shop

CLICK = "AAAAAAAAAAAAAAAAAAAAAQ"
OTHER_CLICK = "AAAAAAAAAAAAAAAAAAAAAg"


@pytest.fixture(params=SHOPS, ids=lambda kind: str(kind.__name__))
def kind(request: pytest.FixtureRequest) -> type[Shop]:
    """Each framework in turn."""
    found: type[Shop] = request.param
    return found


def cookie_of(answer: httpx.Response) -> str:
    """Give what a browser sends back."""
    return str(answer.headers["set-cookie"]).partition(";")[0].strip()


def test_a_view_sees_what_its_request_brings(kind: type[Shop]) -> None:
    shop = kind()
    answer = shop.get(
        f"/p/tea%20pot?utm_source=talk&token=secret&promo=SAVE%2020&cl_click={CLICK}",
        referer="https://Show.example.org/ep/1?q=x",
    )
    assert answer.json() == {
        "click_id": CLICK,
        "promo_code": "SAVE 20",
        "url": "https://shop.example.com/p/tea%20pot?utm_source=talk",
        "referrer": "https://show.example.org/",
    }
    assert "set-cookie" not in answer.headers


def test_what_is_malformed_is_ignored(kind: type[Shop]) -> None:
    answer = kind().get("/?cl_click=17&promo=%00&cl_click=%FF%FE", referer="http://[", cookie="cl_attribution=1:::;;=")
    assert (answer.status_code, answer.json()) == (200, {"url": "https://shop.example.com/"})


def test_two_requests_at_once_do_not_see_each_others(kind: type[Shop]) -> None:
    first, second = kind().get_at_once(f"/meet?promo=ONE&cl_click={CLICK}", f"/meet?promo=TWO&cl_click={OTHER_CLICK}")
    assert (first.json()["promo_code"], first.json()["click_id"]) == ("ONE", CLICK)
    assert (second.json()["promo_code"], second.json()["click_id"]) == ("TWO", OTHER_CLICK)


def test_an_answer_that_streams_sees_it_to_the_end(kind: type[Shop]) -> None:
    assert kind().get("/stream?promo=SAVE20").text == "SAVE20;SAVE20;"


def test_a_view_that_fails_leaves_nothing_behind(kind: type[Shop]) -> None:
    shop = kind(remember=True)
    assert shop.get("/fail?promo=SAVE20").status_code == 500
    assert shop.get("/").json() == {"url": "https://shop.example.com/"}


def test_a_cookie_remembers_the_visit_when_asked_to(kind: type[Shop]) -> None:
    shop = kind(remember=True, days=7)
    answer = shop.get(f"/?cl_click={CLICK}", referer="https://show.example.org/")
    cookie = cookie_of(answer)
    attributes = {part.strip() for part in answer.headers["set-cookie"].split(";")[1:]}
    assert {one for one in attributes if not one.startswith("expires=")} == {
        "Max-Age=604800",
        "Path=/",
        "HttpOnly",
        "SameSite=Lax",
        "Secure",
    }
    later = shop.get("/p/2?page=3", cookie=f"theme=dark; {cookie}")
    assert later.json() == answer.json()
    assert "set-cookie" not in later.headers
    at_the_till = shop.get("/p/3?code=SAVE20", cookie=cookie)
    assert at_the_till.json() == {**answer.json(), "promo_code": "SAVE20"}
    assert shop.get("/", cookie=cookie_of(at_the_till)).json() == at_the_till.json()


def test_the_cookie_is_sent_without_https_only_where_there_is_none(kind: type[Shop]) -> None:
    answer = kind(remember=True).get("/?promo=SAVE20", scheme="http")
    assert answer.json()["url"] == "http://shop.example.com/"
    assert "Secure" not in answer.headers["set-cookie"]


@pytest.mark.parametrize("signal", ["dnt", "sec_gpc"])
def test_a_visitor_who_asks_not_to_be_tracked_is_not_remembered(kind: type[Shop], signal: str) -> None:
    shop = kind(remember=True)
    answer = shop.get("/?promo=SAVE20", **{signal: "1"})
    assert answer.json()["promo_code"] == "SAVE20"
    assert "set-cookie" not in answer.headers
    before = cookie_of(shop.get("/?promo=SAVE20"))
    forgetting = shop.get("/", cookie=before, **{signal: "1"})
    assert "promo_code" not in forgetting.json()
    assert "Max-Age=0" in forgetting.headers["set-cookie"]


@pytest.mark.parametrize(
    ("options", "named"),
    [({"cookie": "a b"}, "cookie"), ({"promo_parameters": "promo"}, "promo_parameters"), ({"days": 0}, "days")],
)
def test_options_that_cannot_work_are_refused_by_name(kind: type[Shop], options: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        kind(**options).get("/")
