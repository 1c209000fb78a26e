"""Tells a world to the running ledger: what was agreed to its API, hits to a tracker and events to a collector."""

from __future__ import annotations

import csv
import datetime as dt
import io
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import httpx
import msgspec

from castledger_server.api_access import Api
from castledger_server.demo.player import MARK, PlayFailed, ask_all
from castledger_server.demo.podcast import HOST, write_feed
from castledger_server.demo.sponsorship.world import Campaign, Event, World, counts_once, currency_of, is_listed

__all__ = (
    "Agreed",
    "add_podcasts",
    "agree",
    "make_keys",
    "tell_clicks",
    "tell_downloads",
    "tell_events",
    "tell_lists",
    "write_list",
)

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_EVENTS_AT_ONCE: Final = 250
_KEYS_LAST: Final = dt.timedelta(hours=1)
_BROWSER: Final = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
)
_EVENTS: Final = "/api/v1/attribution/events"


class Agreed(NamedTuple):
    """What the ledger calls what it was told.

    Attributes:
        sponsors: Ids, by the world's numbers,
        actions: and those of what counts for them.
        campaigns: The same of campaigns,
        slugs: and the names of their links.
        episodes: Ids, by the numbers of all episodes.
    """

    sponsors: Sequence[str]
    actions: Sequence[str]
    campaigns: Sequence[str]
    slugs: Sequence[str]
    episodes: Sequence[str]

    def campaign_number(self, campaign_id: UUID | str | None) -> int | None:
        """Find a campaign's number."""
        return None if campaign_id is None else self.campaigns.index(str(campaign_id))


def _domain(sponsor: int) -> str:
    return f"shop-{sponsor + 1:02d}.example.com"


def _sponsor_name(sponsor: int) -> str:
    return f"Sponsor {sponsor + 1:02d}"


def _send(api: Api, path: str, **fields: Any) -> dict[str, Any]:
    answer: dict[str, Any] = msgspec.json.decode(api.send("POST", path, fields))
    return answer


def make_keys(api: Api, world: World, *, now: dt.datetime) -> list[str]:
    """Make a key for each sponsor, for as long as the demo takes: one key may ask only so often.

    Args:
        api: With the key of the demo's tenant.
        world: For which they are.
        now: Aware instant.

    Returns:
        Their texts.

    Raises:
        ApiRefusal: The API refused, or does not answer.
    """
    expires_at = (now + _KEYS_LAST).isoformat()
    return [
        _send(api, "/api-keys", name=f"Demo of {_sponsor_name(number)}", expires_at=expires_at)["key"]
        for number in range(world.size.sponsors)
    ]


def add_podcasts(apis: Sequence[Api], world: World) -> list[str]:
    """Add the podcasts, each by another key, and return the ids of all their episodes.

    Raises:
        ApiRefusal: The API refused, or does not answer.
    """
    episodes: list[str] = []
    for podcast, api in zip(world.podcasts, itertools.cycle(apis), strict=False):
        feed = write_feed(podcast.episodes, title=podcast.title, guid=podcast.guid)
        added = msgspec.json.decode(api.post("/podcasts", feed, media_type="application/rss+xml"))
        listed = msgspec.json.decode(api.get(f"/podcasts/{added['podcast_id']}/episodes", {"limit": "200"}))
        by_title = {one["title"]: one["episode_id"] for one in listed["data"]}
        episodes += [by_title[episode.title] for episode in podcast.episodes]
    return episodes


def agree(apis: Sequence[Api], world: World, episodes: Sequence[str]) -> Agreed:
    """Make sponsors and campaigns with all that is theirs, and have campaigns begin.

    Args:
        apis: With a key for each sponsor.
        world: What to make.
        episodes: Their ids.

    Raises:
        ApiRefusal: The API refused, or does not answer.
    """
    added = [_add_sponsor(api, number) for number, api in enumerate(apis)]
    sponsors, actions = [sponsor for sponsor, _ in added], [action for _, action in added]
    campaigns: list[str] = []
    slugs: list[str] = []
    for campaign in world.campaigns:
        api = apis[campaign.sponsor]
        campaign_id, slug = _add_campaign(api, world, campaign, sponsors[campaign.sponsor], episodes)
        campaigns.append(campaign_id)
        slugs.append(slug)
    return Agreed(sponsors, actions, campaigns, slugs, episodes)


def _add_sponsor(api: Api, number: int) -> tuple[str, str]:
    """Make a sponsor and what counts for it; return the ids of both."""
    sponsor_id: str = _send(api, "/sponsors", name=_sponsor_name(number), domain=_domain(number))["sponsor_id"]
    action_id: str = _send(
        api,
        "/conversion-actions",
        sponsor_id=sponsor_id,
        name="Order",
        category="purchase",
        event_type="purchase",
        counting="one" if counts_once(number) else "every",
    )["action_id"]
    return sponsor_id, action_id


def _add_campaign(
    api: Api, world: World, campaign: Campaign, sponsor_id: str, episodes: Sequence[str]
) -> tuple[str, str]:
    """Make a campaign with its flight and all that is the flight's; return its id and its link's name."""
    campaign_id: str = _send(
        api,
        "/campaigns",
        sponsor_id=sponsor_id,
        name=campaign.name,
        currency=currency_of(campaign.sponsor),
        starts_on=campaign.starts_at.date().isoformat(),
        # Only what is not over can begin.
        ends_on=world.end.date().isoformat(),
        pricing="cpm",
        budget_amount=1_000_000,
        model="linear",
        window_days=campaign.window.days,
    )["campaign_id"]
    flight = _send(
        api,
        f"/campaigns/{campaign_id}/flights",
        name=campaign.name,
        starts_at=campaign.starts_at.isoformat(),
        ends_at=campaign.ends_at.isoformat(),
        price_amount=2_500,
        booked_impressions=1_000,
    )["flight_id"]
    for placed in campaign.placements:
        _send(
            api,
            f"/flights/{flight}/placements",
            episode_id=episodes[placed.episode],
            delivery="baked_in" if placed.is_baked_in else "dynamic",
            position="mid",
        )
    _send(
        api,
        f"/flights/{flight}/promo-codes",
        code=campaign.code,
        valid_from=campaign.starts_at.isoformat(),
        valid_until=campaign.ends_at.isoformat(),
    )
    _send(api, f"/flights/{flight}/survey-options", answer=campaign.answer)
    link = _send(api, "/links", url=f"https://{_domain(campaign.sponsor)}/", click_id=True, flight_id=flight)
    if campaign.vanity_host is not None:
        _send(api, "/vanity-hosts", host=campaign.vanity_host, link_id=link["link_id"])
    _send(api, f"/campaigns/{campaign_id}/activate")
    return campaign_id, link["slug"]


def _us(at: dt.datetime) -> int:
    return (at - _EPOCH) // dt.timedelta(microseconds=1)


def _request(path: str, at: dt.datetime, address: str, agent: str, *, host: str = "127.0.0.1") -> bytes:
    lines = (
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        f"X-Forwarded-For: {address}",
        f"Castledger-Replay-Time: {_us(at)}",
        f"User-Agent: {agent} {MARK}",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def tell_downloads(port: int, world: World, *, progress: Callable[[int], None]) -> None:
    """Have all listeners download, at a tracker on this machine that replays.

    Raises:
        PlayFailed: It went away, or did not redirect.
    """
    paths = [
        f"/e,pg={podcast.guid}/{HOST}/{episode.file_name}" for podcast in world.podcasts for episode in podcast.episodes
    ]
    messages = [_request(paths[one.episode], one.at, one.address, one.agent) for one in world.downloads]
    await ask_all(port, messages, progress=progress)


async def tell_clicks(port: int, world: World, slugs: Sequence[str]) -> list[str]:
    """Follow links and type vanity hosts in as listeners do, and return the id that each click got.

    Raises:
        PlayFailed: The tracker went away, or a link leads nowhere.
    """
    messages = []
    for one in world.clicks:
        host = world.campaigns[one.campaign].vanity_host if one.is_typed else None
        if host is None:
            messages.append(_request(f"/go/{slugs[one.campaign]}", one.at, one.address, _BROWSER))
        else:
            messages.append(_request("/", one.at, one.address, _BROWSER, host=host))
    heads = await ask_all(port, messages, progress=lambda _: None)
    return [_click_id(head) for head in heads]


def _click_id(head: bytes) -> str:
    for line in head.decode("latin-1").split("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == "location":
            found = parse_qs(urlsplit(value.strip()).query).get("cl_click")
            if found:
                return found[0]
    raise PlayFailed("a click was told no id")


def tell_lists(api: Api, world: World, agreed: Agreed) -> None:
    """Send the lists of redemptions of those shops that keep one.

    Raises:
        ApiRefusal: The API refused one, or does not answer.
    """
    lists: dict[int, list[Event]] = {}
    for event in world.events:
        if is_listed(event):
            lists.setdefault(event.sponsor, []).append(event)
    for sponsor, events in lists.items():
        path = f"/attribution/redemptions?action_id={agreed.actions[sponsor]}"
        api.post(path, write_list(events), media_type="text/csv")


def write_list(events: Sequence[Event]) -> bytes:
    """Write a shop's list of redemptions, as ``POST /attribution/redemptions`` takes it."""
    text = io.StringIO(newline="")
    lines = csv.writer(text)
    lines.writerow(("order", "occurred_at", "code", "value_amount", "currency", "customer_id", "referrer"))
    for one in events:
        currency = currency_of(one.sponsor)
        said = (one.external_id, one.at.isoformat(), one.promo_code, one.value_amount, currency)
        # What is not known is an empty cell.
        lines.writerow((*said, one.customer, one.referrer))
    return text.getvalue().encode()


async def tell_events(port: int, key: str, world: World, agreed: Agreed, click_ids: Sequence[str]) -> None:
    """Tell what is in no list, in the order in which shops tell it, to a collector on this machine that replays.

    Raises:
        PlayFailed: It went away, or refused some.
    """
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
        told = [event for event in world.events if not is_listed(event)]
        for at in range(0, len(told), _EVENTS_AT_ONCE):
            events = told[at : at + _EVENTS_AT_ONCE]
            body = {"events": [_fields(one, agreed.slugs, click_ids) for one in events]}
            headers = {
                "Authorization": f"Bearer {key}",
                "Content-Type": "application/json",
                "Castledger-Replay-Time": str(_us(events[-1].told_at)),
            }
            try:
                answer = await client.post(_EVENTS, content=msgspec.json.encode(body), headers=headers)
            except httpx.HTTPError as error:
                raise PlayFailed(f"the demo's collector does not answer any more ({error})") from error
            if answer.status_code != 202 or answer.json()["refused"]:
                raise PlayFailed(f"the demo's collector refused events: {answer.status_code} {answer.text[:500]}")


def _fields(event: Event, slugs: Sequence[str], click_ids: Sequence[str]) -> Mapping[str, Any]:
    properties = {"survey_answer": event.survey_answer, "refund_id": event.refund_id}
    if event.event_id.int % 2:
        # The other half is known by its page.
        properties["sponsor"] = _sponsor_name(event.sponsor)
    has_value = event.value_amount is not None
    fields = {
        "event_id": str(event.event_id),
        "type": event.type,
        "occurred_at": event.at.isoformat(),
        "url": f"https://{_domain(event.sponsor)}/thanks",
        "customer_id": event.customer,
        "external_id": event.external_id,
        "value_amount": event.value_amount,
        "currency": currency_of(event.sponsor) if has_value else None,
        "click_id": None if event.click is None else click_ids[event.click],
        "link": None if event.link is None else slugs[event.link],
        "promo_code": event.promo_code,
        "referrer": event.referrer,
        "properties": dict(_given(properties)),
    }
    return dict(_given(fields))


def _given(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in fields.items() if value is not None)
