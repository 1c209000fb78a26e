"""The page's figures: an overview, episodes, days and hits, each one's own and nobody else's."""

from __future__ import annotations

import gzip
import io
from collections import Counter
from uuid import UUID

import msgspec
import pytest
from litestar import Litestar

from analytics_core.api_keys import new_key
from analytics_core.byte_ranges import RangeKind
from analytics_core.places import Place
from analytics_core.settings import Secret, Settings
from analytics_core.verdicts import Evidence, Verdict
from api.app import create_app
from api.logs import RequestLog
from api.resources import Resources, open_resources
from tests.integration.api.browsers import Browser
from tests.integration.api.ledger import Api, Ledger

pytestmark = pytest.mark.anyio

FRAGMENT = {"X-Castledger-Fragment": "live"}
US, DE = (ord(code[0]) * 256 + ord(code[1]) for code in ("US", "DE"))


@pytest.fixture
def app(resources: Resources, log_stream: io.StringIO) -> Litestar:
    return create_app(resources, log=RequestLog(log_stream))


@pytest.fixture
async def podcast(api: Api) -> str:
    podcast_id: str = (await api.add_podcast())["podcast_id"]
    return podcast_id


@pytest.fixture
async def episodes(api: Api, podcast: str) -> list[str]:
    """Newest first: of 2 November and of 1 November."""
    return [row["episode_id"] for row in (await api.data(f"/podcasts/{podcast}/episodes"))["data"]]


@pytest.fixture
async def filled(ledger: Ledger, podcast: str, episodes: list[str]) -> Ledger:
    """Days of three kinds: final, provisional, live; and one download in the 30 days before."""
    await ledger.land("2026-09-26T10:00+00:00", episodes[1], listener=1)
    await ledger.land("2026-11-02T07:00+00:00", episodes[0], listener=1, country=US)
    await ledger.land("2026-11-02T08:00+00:00", episodes[0], listener=2, country=US)
    await ledger.land("2026-11-03T05:00+00:00", episodes[0], listener=3, country=DE)
    await ledger.land("2026-11-22T10:00+00:00", episodes[0], listener=1, evidence=Evidence.PROBE)
    await ledger.land("2026-11-24T10:00+00:00", episodes[1], listener=4)
    await ledger.land("2026-11-24T10:01+00:00", episodes[1], listener=4)
    await ledger.land("2026-11-24T10:02+00:00", episodes[1], listener=5, bits=Verdict.BOT.bit)
    await ledger.roll_up()
    await ledger.finalise("home", ["2026-09-26", "2026-11-02", "2026-11-03"])
    await ledger.operator.execute(
        "insert into ops.days (tenant_no, day) select tenant_no, d from app.tenants,"
        " unnest(array['2026-11-22', '2026-11-24']::date[]) d where slug = 'home'"
    )
    await ledger.set_cutoff("2026-11-24T11:58+00:00")
    return ledger


async def test_one_podcast_is_where_the_front_page_leads(app: Litestar, api: Api, podcast: str) -> None:
    async with Browser.open(app) as browser:
        assert (await browser.sign_in(api.key)).path == f"/podcasts/{podcast}"
        await api.add_podcast(2)
        page = await browser.get("/")
        assert page.path == "/podcasts"
        assert page.texts("//main//li//strong") == ["Podcast 1", "Podcast 2"]


async def test_an_overview_shows_the_period_against_the_one_before(
    app: Litestar, api: Api, filled: Ledger, podcast: str
) -> None:
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        page = await browser.get(f"/podcasts/{podcast}")
        assert page.texts("//dl[@class='figures']//strong") == ["5", "4", "4", "1"]
        # Counting began with the first day of the period before.
        assert "400 % against 1 in the 30 days before" in page.text
        assert "complete up to 11:58 UTC" in page.text
        assert len(page.find("//table[@id='bars-table']//tbody/tr")) == 30
        states = page.texts("//table[@id='bars-table']//tbody/tr/td[4]")
        assert Counter(states) == {"–": 26, "final": 2, "provisional": 1, "live": 1}
        assert page.texts("//h3[.='Countries']/..//th//bdi") == ["United States", "Germany", "unknown"]
        assert page.texts("//h3[.='Apps']/..//tbody/tr/td[1]") == ["5"]
        assert page.texts("//h3[.='Operating systems']/..//th//bdi") == ["iOS"]
        # Nobody here knows more of a place than its country.
        assert page.texts("//h3[.='Regions' or .='Cities']") == []
        assert [part.get("data-live") for part in page.find("//*[@id='live']")] == ["15"]


async def test_a_chart_has_a_name_a_description_and_a_table_behind_it(
    app: Litestar, api: Api, filled: Ledger, podcast: str
) -> None:
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        page = await browser.get(f"/podcasts/{podcast}?range=30&by=week")
        charts = page.find("//svg[@role='img']")
        assert len(charts) == 2
        for chart in charts:
            names = str(chart.get("aria-labelledby")).split()
            assert [bool(page.texts(f"//*[@id='{name}']")[0]) for name in names] == [True, True]
        for plot in page.find("//div[@data-tips]"):
            assert page.find(f"//table[@id='{plot.get('data-tips')}']//tbody/tr")
        assert page.texts("//table[@id='bars-table']//tbody/tr/th")[0] == "26 Oct – 1 Nov 2026"


async def test_the_live_part_comes_alone_for_our_script_and_not_without_a_session(
    app: Litestar, api: Api, filled: Ledger, podcast: str, episodes: list[str]
) -> None:
    async with Browser.open(app) as browser:
        for path in (f"/podcasts/{podcast}", f"/episodes/{episodes[1]}"):
            await browser.sign_in(api.key)
            whole = await browser.get(path)
            part = await browser.get(path, headers=FRAGMENT)
            assert part.answer.text.strip() in whole.answer.text
            assert "<html" not in part.answer.text
            browser.http.cookies.clear()
            assert (await browser.get(path, headers=FRAGMENT)).status == 401


async def test_first_days_are_shown_once_they_are_over_and_only_where_they_were_counted(
    app: Litestar, api: Api, ledger: Ledger, podcast: str, episodes: list[str]
) -> None:
    newest, first = episodes
    # Published at 06:00: the first 24 hours reach into the next day.
    for at in ("2026-11-02T07:00", "2026-11-02T23:00", "2026-11-03T05:59", "2026-11-03T06:00", "2026-11-08T00:00"):
        await ledger.land(f"{at}+00:00", newest, listener=int(at[8:10] + at[11:13]))
    await ledger.land("2026-11-02T06:30+00:00", first, listener=99)
    await ledger.roll_up()
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        page = await browser.get(f"/podcasts/{podcast}/episodes")
        assert page.texts("//tbody/tr[1]/td") == ["5", "3", "5", "–", ""]
        assert page.find("//tbody/tr[1]//svg[@class='spark']")
        # The other one was published the day before counting began.
        assert page.texts("//tbody/tr[2]/td") == ["1", "–", "–", "–", ""]
        assert not page.find("//tbody/tr[2]//svg")
        overview = await browser.get(f"/podcasts/{podcast}")
        assert overview.texts("//table[@id='launches-table']//tbody/tr[position() < 4]/td") == ["3", "4", "4"]
        assert overview.texts("//table[@id='launches-table']//tbody/tr[30]/td") == ["–"]


async def test_days_without_downloads_are_said_not_drawn(app: Litestar, api: Api, filled: Ledger, podcast: str) -> None:
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        page = await browser.get(f"/podcasts/{podcast}?first=2025-01-01&last=2025-01-31")
        assert "No download in 1–31 Jan 2025." in page.text
        assert "Counting began on 26 Sep 2026." in page.text
        assert not page.find("//svg[@role='img']")
        faulty = await browser.get(f"/podcasts/{podcast}?first=2026-11-09&last=2026-11-01")
        assert faulty.status == 200
        assert faulty.texts("//*[@role='alert']")[0].startswith("The last day lies before the first")
        assert faulty.find("//svg[@role='img']")


async def test_a_podcast_nobody_has_heard_yet_says_what_happens_next(app: Litestar, api: Api, podcast: str) -> None:
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        page = await browser.get(f"/podcasts/{podcast}")
        assert "No hit yet" in page.text
        assert f"/podcasts/{podcast}/setup" in page.links("//div[@class='empty']//a")
        assert not page.find("//svg[@role='img']")
        assert "No hit on this day." in (await browser.get(f"/podcasts/{podcast}/hits")).text


async def test_a_day_whose_hits_are_gone_shows_what_was_counted(
    app: Litestar, api: Api, ledger: Ledger, podcast: str, episodes: list[str]
) -> None:
    hit_id = await ledger.land("2026-11-02T07:00+00:00", episodes[0])
    await ledger.roll_up()
    await ledger.finalise("home", ["2026-11-02"])
    await ledger.operator.execute("delete from ts.listener_events; delete from ts.downloads")
    await ledger.ingest.execute("update ops.days set downloads_dropped_at = now(), hits_dropped_at = now()")
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        page = await browser.get(f"/podcasts/{podcast}/hits?day=2026-11-02")
        assert page.texts("//dl//dd/strong") == ["1"]
        assert "The hits of this day are not kept any more." in page.text
        page = await browser.get(f"/hits/{hit_id}")
        assert (page.status, page.texts("//h1")) == (410, ["No longer here"])
        assert "hits of 2026-11-02 are not kept any more" in page.text


async def test_a_day_is_taken_apart_down_to_single_hits(
    app: Litestar, api: Api, filled: Ledger, podcast: str, episodes: list[str]
) -> None:
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        page = await browser.get(f"/podcasts/{podcast}/hits?day=2026-11-24")
        assert page.texts("//dl[@class='figures']//strong") == ["1", "3", "1", "1"]
        assert page.texts("//table[@class='verdicts']//tbody/tr/th") == ["eligible, full", "bot"]
        assert page.texts("//section[@aria-labelledby='hits']//tbody//span") == ["download", "repeat", "bot"]
        only = await browser.get(page.links("//table[@class='verdicts']//tbody/tr[2]//a")[0])
        assert only.texts("//section[@aria-labelledby='hits']//tbody//span") == ["bot"]
        hit = await browser.get(only.links("//section[@aria-labelledby='hits']//tbody//a")[0])
        assert hit.texts("//h1") == ["Does not count"]
        assert hit.texts("//li[contains(@class, 'decides')]//span[@class='name']") == ["bot"]
        assert len(hit.find("//ol[@class='rules']/li")) == 14
        # An episode's day, and days that are none.
        assert (await browser.get(f"/episodes/{episodes[0]}/hits?day=2026-11-24")).text.count(
            "No hit on this day."
        ) == 1
        for day in ("x", "2030-01-01", "0001-01-01"):
            assert (await browser.get(f"/podcasts/{podcast}/hits?day={day}")).texts("//h1")[0].startswith("Tue 24 Nov")


async def test_a_repeat_leads_to_the_hit_that_counts(
    app: Litestar, api: Api, ledger: Ledger, podcast: str, episodes: list[str]
) -> None:
    counted = await ledger.land("2026-11-24T10:00+00:00", episodes[0], byte_range=(int(RangeKind.OPEN), 0, -1))
    repeat = await ledger.land("2026-11-24T10:01+00:00", episodes[0])
    waiting = await ledger.wait_for_episode("2026-11-24T10:02+00:00", podcast, "x.example.com/<b>y</b>.mp3")
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        page = await browser.get(f"/hits/{repeat}")
        assert page.texts("//h1") == ["A repeat"]
        page = await browser.get(page.links("//a[starts-with(., 'The hit that counts')]")[0])
        assert (page.path, page.texts("//h1")) == (f"/hits/{counted}", ["Counts"])
        assert "the whole file: from its first byte on" in page.text
        page = await browser.get(f"/hits/{waiting}")
        assert page.texts("//dd/code")[0] == "x.example.com/<b>y</b>.mp3"


async def test_a_list_of_many_hits_has_pages(
    app: Litestar, api: Api, ledger: Ledger, podcast: str, episodes: list[str]
) -> None:
    for second in range(53):
        await ledger.land(f"2026-11-24T10:00:{second:02d}+00:00", episodes[0], listener=second)
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        page = await browser.get(f"/podcasts/{podcast}/hits")
        rows = "//section[@aria-labelledby='hits']//tbody/tr"
        assert len(page.find(rows)) == 50
        following = await browser.get(page.links("//a[@rel='next']")[0])
        assert len(following.find(rows)) == 3
        assert following.links("//a[.='From the start']")
        assert len((await browser.get(f"/podcasts/{podcast}/hits?cursor=junk")).find(rows)) == 50


async def test_another_tenants_pages_are_not_there(
    app: Litestar, api: Api, filled: Ledger, podcast: str, episodes: list[str]
) -> None:
    hit_id = (await api.data("/analytics/hits", from_="2026-11-24"))["data"][0]["hit_id"]
    other = await filled.make_key("other")
    paths = [
        f"/podcasts/{podcast}",
        f"/podcasts/{podcast}/episodes",
        f"/podcasts/{podcast}/hits",
        f"/podcasts/{podcast}/setup",
        f"/podcasts/{podcast}/feed.xml",
        f"/episodes/{episodes[0]}",
        f"/episodes/{episodes[0]}/hits",
        f"/hits/{hit_id}",
    ]
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        assert [(await browser.get(path)).status for path in paths if "feed.xml" not in path] == [200] * 7
    async with Browser.open(app) as browser:
        front = await browser.sign_in(other)
        for path in [*paths, "/podcasts/x", "/episodes/x", "/hits/x", f"/podcasts/{UUID(int=1)}", "/nothing", "/x/y"]:
            page = await browser.get(path)
            assert (page.status, page.title) == (404, "Nothing here · Castledger"), path
            assert "Podcast 1" not in page.answer.text
        fields = {**front.fields("/sign-out"), "host": "cdn.example.com"}
        for path in (f"/podcasts/{podcast}/hosts", f"/podcasts/{podcast}/feed.xml"):
            answer = await browser.http.post(path, data=fields)
            assert answer.status_code == 404


async def test_titles_with_markup_and_from_right_to_left_are_text(app: Litestar, api: Api) -> None:
    feed = """<rss version="2.0"><channel><title>&lt;b&gt;Salt&lt;/b&gt; "&amp;" بودكاست</title><link>https://x.example.com</link>
    <item><title>حلقة &lt;script&gt;alert(1)&lt;/script&gt;</title><guid>1</guid>
    <enclosure url="https://x.example.com/1.mp3" type="audio/mpeg" length="9"/></item></channel></rss>"""
    added = await api.request(
        "POST", "/podcasts", content=feed.encode(), headers={"Content-Type": "application/rss+xml"}
    )
    podcast = added.json()["podcast_id"]
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        page = await browser.get(f"/podcasts/{podcast}")
        assert page.texts("//h1/bdi") == ['<b>Salt</b> "&" بودكاست']
        assert page.title == '<b>Salt</b> "&" بودكاست · Castledger'
        episodes = await browser.get(f"/podcasts/{podcast}/episodes")
        assert episodes.texts("//a[@dir='auto']") == ["حلقة <script>alert(1)</script>"]
        assert [script.get("src") is not None for script in episodes.find("//script")] == [True]


async def test_five_thousand_episodes_come_in_pages(app: Litestar, api: Api) -> None:
    items = "".join(
        f"<item><title>E{number}</title><guid>{number}</guid>"
        f"<pubDate>Mon, 02 Nov 2026 {number % 24:02d}:00:00 GMT</pubDate>"
        f'<enclosure url="https://x.example.com/{number}.mp3"/></item>'
        for number in range(5000)
    )
    feed = f"<rss><channel><title>Many</title><link>https://x.example.com</link>{items}</channel></rss>"
    added = await api.request(
        "POST", "/podcasts", content=feed.encode(), headers={"Content-Type": "application/rss+xml"}
    )
    podcast = added.json()["podcast_id"]
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        page = await browser.get(f"/podcasts/{podcast}/episodes")
        seen = page.texts("//tbody//a")
        assert len(seen) == 50
        page = await browser.get(page.links("//a[@rel='next']")[0])
        assert len(set(seen + page.texts("//tbody//a"))) == 100
        assert page.links("//a[.='Newest']") == [f"/podcasts/{podcast}/episodes"]
        # A cursor that is none is the beginning.
        assert (await browser.get(f"/podcasts/{podcast}/episodes?cursor=x")).texts("//tbody//a") == seen


async def test_a_page_is_small_on_the_wire_with_its_style_and_script(
    app: Litestar, api: Api, filled: Ledger, podcast: str
) -> None:
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        for path in (f"/podcasts/{podcast}?range=year&by=day", f"/podcasts/{podcast}/hits?day=2026-11-24"):
            page = await browser.get(path, headers={"Accept-Encoding": "gzip"})
            assert page.answer.headers["content-encoding"] == "gzip"
            size = int(page.answer.headers["content-length"])
            for url in page.find("//link/@href | //script/@src"):
                size += int((await browser.http.get(str(url))).headers["content-length"])
            assert size <= 60 * 1024
            # What the wire carried is what was meant.
            assert len(gzip.compress(page.answer.content)) < 60 * 1024


async def test_pages_keep_browsers_careful(app: Litestar, api: Api, podcast: str) -> None:
    async with Browser.open(app) as browser:
        pages = [await browser.get("/sign-in"), await browser.sign_in(api.key), await browser.get("/nothing")]
        for page in pages:
            headers = page.answer.headers
            policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
            assert policy == {
                "default-src": "'none'",
                "style-src": "'self'",
                "script-src": "'self'",
                "img-src": "'self' data:",
                "connect-src": "'self'",
                "form-action": "'self'",
                "frame-ancestors": "'none'",
                "base-uri": "'none'",
            }
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cache-control"] == "no-store"
            assert headers["referrer-policy"] == "same-origin"


async def test_files_are_kept_for_ever_under_the_hash_of_their_content(app: Litestar, api: Api) -> None:
    async with Browser.open(app) as browser:
        page = await browser.get("/sign-in")
        urls = [str(url) for url in page.find("//link/@href | //script/@src")]
        assert len(urls) == 3
        for url in urls:
            answer = await browser.http.get(url)
            assert answer.status_code == 200
            assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
            assert answer.headers["x-content-type-options"] == "nosniff"
        assert (await browser.http.get("/favicon.ico")).headers["content-type"] == "image/svg+xml"
        for url in ("/static/page.css", "/static/page.0000000000000000.css", "/static/..%2fviews.py"):
            assert (await browser.http.get(url)).status_code == 404


async def test_without_a_database_the_page_says_so_and_when_to_come_back(
    settings: Settings, log_stream: io.StringIO
) -> None:
    gone = msgspec.structs.replace(settings.require_database(), url=Secret("postgresql://nobody@127.0.0.1:1/none"))
    async with (
        open_resources(settings, database=gone) as resources,
        Browser.open(create_app(resources, log=RequestLog(log_stream))) as browser,
    ):
        tried = await browser.sign_in(new_key())
        browser.http.cookies.set("castledger", "A" * 43)
        for page in (tried, await browser.get("/podcasts"), await browser.get("/sign-in")):
            assert (page.status, page.title) == (503, "Back in a moment · Castledger")
            assert int(page.answer.headers["retry-after"]) > 0
            assert page.answer.headers["content-type"].startswith("text/html")
    assert '"level":"error"' in log_stream.getvalue()


async def test_other_methods_are_refused_in_html(app: Litestar, api: Api) -> None:
    async with Browser.open(app) as browser:
        answer = await browser.http.put("/podcasts")
        assert answer.status_code == 405
        assert answer.headers["content-type"].startswith("text/html")


async def test_regions_and_cities_are_shown_where_they_are_known(
    app: Litestar, api: Api, ledger: Ledger, podcast: str, episodes: list[str]
) -> None:
    places = [Place("US", "CA", "San Francisco"), Place("US", "CA", ""), Place("DE", "Bavaria", "Munich")]
    hit_id = ""
    for number, place in enumerate([*places, places[0]]):
        hit_id = await ledger.land(
            f"2026-11-23T1{number}:00+00:00",
            episodes[0],
            listener=number,
            country=US,
            place_no=await ledger.place(place),
        )
    await ledger.roll_up()
    by_city = await api.data("/analytics/downloads", podcast_id=podcast, by="city", from_="2026-11-23", to="2026-11-24")
    assert [(row["key"], row["downloads"]) for row in by_city["data"]] == [
        ("", 1),
        ("DE/Bavaria/Munich", 1),
        ("US-CA/San Francisco", 2),
    ]
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        page = await browser.get(f"/podcasts/{podcast}")
        assert page.texts("//h3[.='Regions']/..//th//bdi") == ["CA, United States", "Bavaria, Germany"]
        assert page.texts("//h3[.='Cities']/..//th//bdi") == ["San Francisco, CA, US", "Munich, Bavaria, DE", "unknown"]
        assert "San Francisco, CA, US" in (await browser.get(f"/hits/{hit_id}")).text
