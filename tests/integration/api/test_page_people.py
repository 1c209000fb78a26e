"""People on the page: signing in with a password, going from tenant to tenant, and what each role sees."""

from __future__ import annotations

import datetime as dt
import io

import pytest
from litestar import Litestar

from analytics_core.clock import FixedClock
from analytics_core.permissions import RoleName
from api.app import create_app
from api.logs import RequestLog
from api.resources import Resources
from tests.integration.api.browsers import ORIGIN, Browser, Page
from tests.integration.api.ledger import Api, Ledger
from tests.integration.api.people import PASSWORD, make_person, take_token

pytestmark = pytest.mark.anyio

ANN = "ann@example.com"
NEW_PASSWORD = "eight brisk alpacas"


@pytest.fixture
def app(resources: Resources, log_stream: io.StringIO) -> Litestar:
    return create_app(resources, log=RequestLog(log_stream))


async def enter(browser: Browser, email: str = ANN, password: str = PASSWORD) -> Page:
    """Sign in as a person and return where that led."""
    form = await browser.get("/sign-in")
    return await browser.send(form, "/sign-in", {"email": email, "password": password})


async def test_an_owner_signs_in_with_a_password_and_out_on_the_server(app: Litestar, api: Api, ledger: Ledger) -> None:
    await make_person(ledger, ANN, "home")
    async with Browser.open(app) as browser:
        page = await enter(browser)
        assert (page.status, page.path) == (200, "/podcasts/new")
        token = browser.http.cookies["castledger"]
        out = await browser.send(page, "/sign-out")
        assert out.path == "/sign-in"
        browser.http.cookies.set("castledger", token)
        assert (await browser.get("/podcasts")).path == "/sign-in"
    assert await ledger.operator.fetchval("select count(*) from app.user_sessions") == 0
    actions = await ledger.operator.fetch("select action from app.audit_log order by action")
    assert [row["action"] for row in actions][-2:] == ["session.close", "session.open"]


async def test_wrong_ones_are_told_the_same_and_the_address_stays_in_the_form(
    app: Litestar, api: Api, ledger: Ledger
) -> None:
    await make_person(ledger, ANN, "home")
    async with Browser.open(app) as browser:
        for email, password in ((ANN, NEW_PASSWORD), ("nobody@example.com", PASSWORD), ("no address", PASSWORD)):
            page = await enter(browser, email, password)
            assert (page.status, page.path) == (401, "/sign-in")
            assert page.texts("//*[@role='alert']") == ["This mail address and password do not belong together."]
            assert str(page.find("//input[@name='email']/@value")[0]) == email
            assert password not in page.answer.text
        assert (await browser.get("/")).path == "/sign-in"


async def test_tries_are_slowed_down_as_over_the_api(
    app: Litestar, api: Api, ledger: Ledger, clock: FixedClock
) -> None:
    await make_person(ledger, ANN, "home")
    async with Browser.open(app) as browser:
        for _ in range(5):
            assert (await enter(browser, password=NEW_PASSWORD)).status == 401
        page = await enter(browser)
        assert (page.status, page.answer.headers["retry-after"]) == (429, "15")
        assert page.texts("//*[@role='alert']") == ["Too many attempts from where you are: wait 15 seconds."]
        clock.advance(dt.timedelta(seconds=16))
        assert (await enter(browser)).path == "/podcasts/new"


async def test_who_has_confirmed_nothing_or_belongs_nowhere_is_told_so(app: Litestar, api: Api, ledger: Ledger) -> None:
    await make_person(ledger, ANN, "home", verified=False)
    await make_person(ledger, "bob@example.com")
    async with Browser.open(app) as browser:
        ann, bob = await enter(browser), await enter(browser, "bob@example.com")
        assert (ann.status, bob.status) == (403, 403)
        assert ann.texts("//*[@role='alert']")[0].startswith("Confirm your mail address first")
        assert bob.texts("//*[@role='alert']") == ["You belong to no tenant yet: have somebody invite you."]


async def test_a_session_begins_under_a_token_that_nobody_has_set(app: Litestar, api: Api, ledger: Ledger) -> None:
    await make_person(ledger, ANN, "home")
    async with Browser.open(app) as browser:
        planted = "A" * 43
        browser.http.cookies.set("castledger", planted, domain="page.test")
        await enter(browser)
        tokens = [cookie.value for cookie in browser.http.cookies.jar if cookie.name == "castledger"]
        assert len(set(tokens) - {planted}) == 1
        browser.http.cookies.clear()
        browser.http.cookies.set("castledger", planted)
        assert (await browser.get("/podcasts")).path == "/sign-in"


@pytest.mark.parametrize("wanted", ["https://evil.example/", "//evil.example", "/\\evil.example"])
async def test_neither_signing_in_nor_changing_tenants_leads_elsewhere(
    app: Litestar, api: Api, ledger: Ledger, wanted: str
) -> None:
    await ledger.make_key("other")
    await make_person(ledger, ANN, "home", "other")
    async with Browser.open(app) as browser:
        form = await browser.get("/sign-in")
        page = await browser.send(form, "/sign-in", {"email": ANN, "password": PASSWORD, "next": wanted})
        assert (page.answer.url.host, page.path) == ("page.test", "/tenants")
        page = await browser.send(page, "/tenants", {"tenant": "other", "next": wanted})
        assert (page.answer.url.host, page.path) == ("page.test", "/podcasts/new")


async def test_who_belongs_to_several_tenants_says_where_to(app: Litestar, api: Api, ledger: Ledger) -> None:
    await ledger.make_key("other")
    await ledger.make_key("third")
    podcast = await api.add_podcast()
    await make_person(ledger, ANN, "home", "other")
    async with Browser.open(app) as browser:
        page = await enter(browser)
        assert page.path == "/tenants"
        before = browser.http.cookies["castledger"]
        assert (await browser.get(f"/podcasts/{podcast['podcast_id']}")).status == 200
        page = await browser.send(await browser.get("/tenants"), "/tenants", {"tenant": "other"})
        assert page.path == "/podcasts/new"
        assert (await browser.get(f"/podcasts/{podcast['podcast_id']}")).status == 404
        assert browser.http.cookies["castledger"] != before
        # One session at a time goes from tenant to tenant, and to none of somebody else.
        assert await ledger.operator.fetchval("select count(*) from app.user_sessions") == 1
        page = await browser.send(await browser.get("/tenants"), "/tenants", {"tenant": "third"})
        assert page.status == 404


async def test_a_removed_member_is_out_at_once(app: Litestar, api: Api, ledger: Ledger) -> None:
    ann = await make_person(ledger, ANN, "home", role=RoleName.VIEWER)
    async with Browser.open(app) as browser:
        assert (await enter(browser)).path == "/podcasts"
        assert (await api.request("DELETE", f"/members/{ann}")).status_code == 204
        assert (await browser.get("/podcasts")).path == "/sign-in"


async def test_a_viewer_neither_sees_nor_reaches_what_it_may_not(app: Litestar, api: Api, ledger: Ledger) -> None:
    podcast = await api.add_podcast()
    await make_person(ledger, ANN, "home", role=RoleName.VIEWER)
    base = f"/podcasts/{podcast['podcast_id']}"
    async with Browser.open(app) as browser:
        page = await enter(browser)
        assert page.path == base
        links = page.links("//a")
        assert not {"/podcasts/new", "/sponsors", "/settings/keys", "/what-if", f"{base}/hits"} & set(links)
        for path in ("/podcasts/new", "/sponsors", "/settings/keys", "/what-if", f"{base}/hits", f"{base}/spikes"):
            refused = await browser.get(path)
            assert (refused.status, refused.title) == (403, "Not allowed · Castledger"), path
            assert "this needs the permission" in refused.text
        # All that the page still leads to is there.
        for link in {link.partition("#")[0] for link in links if link.startswith("/") and "#" not in link}:
            assert (await browser.get(link)).status == 200, link


async def test_a_key_is_nobody_who_has_tenants(app: Litestar, api: Api) -> None:
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        page = await browser.get("/tenants")
        assert page.status == 403
        assert "API key, which is nobody" in page.text


async def test_forms_of_other_sites_and_without_their_token_are_refused(
    app: Litestar, api: Api, ledger: Ledger
) -> None:
    await make_person(ledger, ANN, "home")
    given = {"email": ANN, "password": PASSWORD}
    async with Browser.open(app) as browser:
        form = await browser.get("/sign-in")
        foreign = await browser.send(form, "/sign-in", given, headers={"Origin": "https://evil.example"})
        assert foreign.status == 403
        assert (await browser.http.post("/sign-in", data=given, headers={"Origin": ORIGIN})).status_code == 403
        await enter(browser)
        for path in ("/tenants", "/sign-out"):
            answer = await browser.http.post(path, data={"tenant": "home"}, headers={"Origin": ORIGIN})
            assert answer.status_code == 403, path


async def test_a_forgotten_password_is_set_anew_from_the_sign_in_form(
    app: Litestar, api: Api, ledger: Ledger, log_stream: io.StringIO
) -> None:
    await make_person(ledger, ANN, "home")
    async with Browser.open(app) as browser:
        assert "/forgot-password" in (await browser.get("/sign-in")).links()
        form = await browser.get("/forgot-password")
        nobody = await browser.send(form, "/forgot-password", {"email": "nobody@example.com"})
        told = await browser.send(await browser.get("/forgot-password"), "/forgot-password", {"email": ANN})
        assert (told.status, told.text) == (200, nobody.text)
        token = await take_token(ledger, "reset", to=ANN)
        page = await browser.get(f"/reset-password?token={token}")
        assert page.answer.headers["referrer-policy"] == "same-origin"
        await browser.send(page, "/reset-password", {"password": NEW_PASSWORD})
        assert (await enter(browser, password=NEW_PASSWORD)).path == "/podcasts/new"
    said = log_stream.getvalue()
    assert not [secret for secret in (token, PASSWORD, NEW_PASSWORD, ANN) if secret in said]


async def test_name_and_language_are_changed(app: Litestar, api: Api, ledger: Ledger) -> None:
    await make_person(ledger, ANN, "home", role=RoleName.VIEWER)
    async with Browser.open(app) as browser:
        await enter(browser)
        page = await browser.send(await browser.get("/account"), "/account", {"name": "Ana <b>", "locale": "pt-BR"})
        assert page.texts("//*[@role='status']") == ["Saved."]
        assert [str(value) for value in page.find("//input[@name='name' or @name='locale']/@value")] == [
            "Ana <b>",
            "pt-BR",
        ]
        wrong = await browser.send(page, "/account", {"name": "Ana", "locale": "klingon!"})
        assert wrong.status == 422
        assert wrong.texts("//*[@role='alert']")[0].startswith("The locale ")
        assert str((await browser.get("/account")).find("//input[@name='name']/@value")[0]) == "Ana <b>"


async def test_who_sells_says_whether_they_want_mail_about_flights(app: Litestar, api: Api, ledger: Ledger) -> None:
    await make_person(ledger, ANN, "home", role=RoleName.SALES)
    await make_person(ledger, "bob@example.com", "home", role=RoleName.VIEWER)
    tick = "//input[@name='delivery_mail']"
    async with Browser.open(app) as browser:
        await enter(browser)
        page = await browser.get("/account")
        assert len(page.find(f"{tick}[@checked]")) == 1
        # A box that is not ticked is not sent.
        fields = {name: value for name, value in page.fields("/account/mail").items() if name != "delivery_mail"}
        await browser.http.post("/account/mail", data=fields, headers={"Origin": ORIGIN})
        page = await browser.get("/account")
        assert (len(page.find(tick)), len(page.find(f"{tick}[@checked]"))) == (1, 0)
        page = await browser.send(page, "/account/mail", {"delivery_mail": "yes"})
        assert page.texts("//*[@role='status']") == ["Saved."]
        assert len(page.find(f"{tick}[@checked]")) == 1
    async with Browser.open(app) as browser:
        await enter(browser, "bob@example.com")
        assert not (await browser.get("/account")).find(tick)


async def test_a_password_is_changed_by_who_knows_it_and_other_sessions_end(
    app: Litestar, api: Api, ledger: Ledger
) -> None:
    await make_person(ledger, ANN, "home", role=RoleName.VIEWER)
    async with Browser.open(app) as one, Browser.open(app) as other:
        await enter(one)
        await enter(other)
        form = await one.get("/account")
        given = {"current_password": "not mine at all", "password": NEW_PASSWORD}
        wrong = await one.send(form, "/account/password", given)
        assert (wrong.status, wrong.texts("//*[@role='alert']")) == (422, ["This is not your password."])
        weak = await one.send(form, "/account/password", {"current_password": PASSWORD, "password": "x"})
        assert weak.status == 422
        assert (await other.get("/account")).path == "/account"
        done = await one.send(form, "/account/password", {"current_password": PASSWORD, "password": NEW_PASSWORD})
        assert done.texts("//*[@role='status']")[0].startswith("Your password is changed")
        assert (await other.get("/account")).path == "/sign-in"
        assert (await enter(other)).status == 401
        assert (await enter(other, password=NEW_PASSWORD)).path == "/podcasts"


async def test_sessions_are_ended_one_by_one_or_all_others_and_only_ones_own(
    app: Litestar, api: Api, ledger: Ledger
) -> None:
    await make_person(ledger, ANN, "home", role=RoleName.VIEWER)
    await make_person(ledger, "bob@example.com", "home")
    async with Browser.open(app) as one, Browser.open(app) as other, Browser.open(app) as third:
        await enter(third, "bob@example.com")
        await enter(one)
        for end in ("that one", "others"):
            await enter(other)
            page = await one.get("/account")
            assert page.texts("//*[@class='verdict yes']") == ["this one"]
            (listed,) = page.find("//li//button[@name='session_id']/@value")
            await one.send(page, "/account/sessions", {"session_id": str(listed) if end == "that one" else end})
            assert (await other.get("/account")).path == "/sign-in"
            assert (await one.get("/account")).path == "/account"
        bobs = await ledger.operator.fetchval(
            "select session_id from app.user_sessions join app.users using (user_id) where email = 'bob@example.com'"
        )
        await enter(other)
        form = await one.get("/account")
        for strange in (str(bobs), "x"):
            assert (await one.send(form, "/account/sessions", {"session_id": strange})).status == 404
        assert (await third.get("/account")).path == "/account"


async def test_who_leaves_confirms_it_and_a_tenant_keeps_an_owner(app: Litestar, api: Api, ledger: Ledger) -> None:
    await make_person(ledger, ANN, "home")
    async with Browser.open(app) as browser:
        await enter(browser)
        own = await browser.http.get("/account/export")
        assert (own.json()["user"]["email"], own.headers["content-disposition"][:10]) == (ANN, "attachment")
        form = await browser.get("/account")
        wrong = await browser.send(form, "/account/delete", {"current_password": NEW_PASSWORD})
        assert (wrong.status, wrong.texts("//*[@role='alert']")) == (422, ["This is not your password."])
        last = await browser.send(form, "/account/delete", {"current_password": PASSWORD})
        assert last.status == 409
        assert last.texts("//*[@role='alert']")[0].startswith("A tenant keeps an owner")
        await make_person(ledger, "bob@example.com", "home")
        assert (await browser.send(form, "/account/delete", {"current_password": PASSWORD})).path == "/sign-in"
        assert (await enter(browser)).status == 401


async def test_a_key_has_no_account(app: Litestar, api: Api) -> None:
    async with Browser.open(app) as browser:
        page = await browser.sign_in(api.key)
        assert "/account" not in page.links("//a")
        for path in ("/account", "/account/export"):
            assert (await browser.get(path)).status == 403


async def test_the_owner_key_invites_the_first_person_who_invites_others(
    app: Litestar, api: Api, ledger: Ledger
) -> None:
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        page = await browser.get("/settings/members")
        assert "Nobody yet: invite yourself" in page.text
        page = await browser.send(page, "/settings/members", {"email": ANN, "role": "owner"})
        assert page.texts("//section[@aria-labelledby='invited']//strong") == [ANN]
        token = await take_token(ledger, "inv", to=ANN)
        # Who may invite somebody is not whoever reads that address.
        assert token not in page.answer.text
        again = await browser.send(page, "/settings/members", {"email": ANN, "role": "owner"})
        assert (again.status, len(again.texts("//*[@role='alert']"))) == (409, 1)
    async with Browser.open(app) as browser:
        form = await browser.get(f"/invitation?token={token}")
        await browser.send(form, "/invitation", {"name": "Ann", "password": NEW_PASSWORD})
        assert (await enter(browser, password=NEW_PASSWORD)).path == "/podcasts/new"
        page = await browser.get("/settings/members")
        assert page.texts("//span[@class='verdict yes']") == ["you"]
        for email in ("no address", ""):
            wrong = await browser.send(page, "/settings/members", {"email": email, "role": "viewer"})
            assert (wrong.status, len(wrong.texts("//*[@role='alert']"))) == (422, 1)
        page = await browser.send(page, "/settings/members", {"email": "bob@example.com", "role": "viewer"})
        (action,) = page.find("//form[contains(@action, '/invitations/')]/@action")
        page = await browser.send(page, str(action))
        assert not page.find("//section[@aria-labelledby='invited']")


async def test_a_role_is_changed_and_neither_the_last_owner_nor_anybody_above_oneself(
    app: Litestar, api: Api, ledger: Ledger
) -> None:
    ann = await make_person(ledger, ANN, "home")
    bob = await make_person(ledger, "bob@example.com", "home", role=RoleName.ADMIN)
    async with Browser.open(app) as browser:
        await enter(browser)
        page = await browser.get("/settings/members")
        for given in ({"do": "change", "role": "viewer"}, {"do": "remove"}):
            last = await browser.send(page, f"/settings/members/{ann}", given)
            assert last.status == 409
            assert last.texts("//*[@role='alert']")[0].startswith("A tenant keeps an owner")
        await browser.send(page, f"/settings/members/{bob}", {"do": "change", "role": "no such role"})
        made = (await api.request("POST", "/roles", json={"name": "Editor", "permissions": ["links:read"]})).json()
        page = await browser.send(page, f"/settings/members/{bob}", {"do": "change", "role": made["role_id"]})
        assert page.texts("//span[@class='verdict']") == ["owner", "Editor"]
        await browser.send(page, f"/settings/members/{bob}", {"do": "change", "role": "admin"})
        await browser.send(page, "/sign-out")
        await enter(browser, "bob@example.com")
        page = await browser.get("/settings/members")
        for action, given in (
            (f"/settings/members/{ann}", {"do": "remove"}),
            (f"/settings/members/{bob}", {"do": "change", "role": "owner"}),
        ):
            above = await browser.send(page, action, given)
            assert (above.status, len(above.texts("//*[@role='alert']"))) == (403, 1)
        above = await browser.send(page, "/settings/members", {"email": "eve@example.com", "role": "owner"})
        assert (above.status, len(above.texts("//*[@role='alert']"))) == (403, 1)


async def test_sponsors_are_chosen_kept_and_taken_away(app: Litestar, api: Api, ledger: Ledger) -> None:
    await make_person(ledger, ANN, "home")
    bob = await make_person(ledger, "bob@example.com", "home", role=RoleName.VIEWER)
    acme, brew = [
        (await api.request("POST", "/sponsors", json={"name": name})).json()["sponsor_id"]
        for name in ("Acme <b>", "Brew & Co")
    ]
    editor, reader = [
        (await api.request("POST", "/roles", json={"name": name, "permissions": ["links:read"]})).json()["role_id"]
        for name in ("Editor", "Reader")
    ]
    at = f"/settings/members/{bob}"

    def ticked(page: Page, action: str = at) -> list[str]:
        return list(map(str, page.find(f"//form[@action='{action}']//input[@type='checkbox'][@checked]/@name")))

    async def sponsor_ids() -> list[str]:
        members = (await api.request("GET", "/members")).json()["data"]
        return next(list(member["sponsor_ids"]) for member in members if member["email"] == "bob@example.com")

    async with Browser.open(app) as browser:
        await enter(browser)
        page = await browser.get("/settings/members")
        assert ticked(page) == []
        none = await browser.send(page, at, {"do": "change", "role": "sponsor"})
        assert (none.status, none.texts("//*[@role='alert']")) == (
            422,
            ["Name the sponsors whose rows the role sponsor sees."],
        )
        page = await browser.send(page, at, {"do": "change", "role": "sponsor", f"sponsor:{acme}": "on"})
        assert await sponsor_ids() == [acme]
        assert ticked(page) == [f"sponsor:{acme}"]
        assert "sees Acme <b> and nothing else" in page.text
        # Another role of one's own keeps what is ticked, also a sponsor that was put away meanwhile.
        assert (await api.request("POST", f"/sponsors/{acme}/archive")).status_code == 200
        page = await browser.get("/settings/members")
        given = {"do": "change", f"sponsor:{brew}": "on", **dict.fromkeys(ticked(page), "on")}
        for role in (editor, reader):
            page = await browser.send(page, at, {**given, "role": role})
            assert sorted(await sponsor_ids()) == sorted([acme, brew])
        # No role that sees everything is given by the way, and what was asked for is still there to be mended.
        wide = await browser.send(page, at, {**given, "role": "viewer"})
        assert wide.status == 422
        assert len(ticked(wide)) == 2
        assert sorted(await sponsor_ids()) == sorted([acme, brew])
        for name in ("sponsor:none", f"sponsor:{bob}"):
            assert (await browser.send(page, at, {"do": "change", "role": "sponsor", name: "on"})).status == 404
        page = await browser.send(page, at, {"do": "change", "role": "viewer"})
        assert await sponsor_ids() == []
        eve = {"email": "eve@example.com", "role": "sponsor"}
        wrong = await browser.send(page, "/settings/members", {**eve, "email": "eve", f"sponsor:{brew}": "on"})
        assert ticked(wrong, "/settings/members") == [f"sponsor:{brew}"]
        assert wrong.texts("//select[@id='role']/option[@selected]") == ["sponsor"]
        page = await browser.send(page, "/settings/members", {**eve, f"sponsor:{brew}": "on"})
        assert "sees Brew & Co and nothing else" in page.text
        (invited,) = (await api.request("GET", "/members/invitations")).json()["data"]
        assert (invited["role"], invited["sponsor_ids"]) == ("sponsor", [brew])
