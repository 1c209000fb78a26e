"""Makes a world of sponsors by seed: who hears what, why they buy, and what they tell. A pure function.

What is true is written down where it is made: why somebody buys, and what of that they tell. It is never worked out
by the code that attributes.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from random import Random
from typing import Final, NamedTuple
from uuid import UUID

from castledger_server.demo.cast import APPS, Homes, Style
from castledger_server.demo.podcast import Episode
from castledger_server.demo.sponsorship.world import (
    COUNTING,
    MEASURED,
    REMEMBERED,
    Campaign,
    Click,
    Conversion,
    Download,
    Event,
    Fate,
    Leak,
    Placed,
    Podcast,
    Signal,
    Size,
    World,
    counts_once,
)

__all__ = ("make_world",)

_HOUR: Final = dt.timedelta(hours=1)
_DAY: Final = dt.timedelta(days=1)
_QUARTER: Final = dt.timedelta(minutes=15)
_DURATION_S: Final = 1_800
_COUPONS: Final = "https://www.retailmenot.com/view/shop"
_REPEAT_DOWNLOADS: Final = 0.06
# How somebody who heard a spot comes to buy; whoever is silent says nothing of it at the till,
# and whoever hunts has decided, and looks for a code of any campaign first.
_WAYS: Final = (("click", 30), ("vanity", 13), ("code", 28), ("survey", 9), ("silent", 13), ("hunts", 7))
_STALE_CLICKS: Final = 0.05
_BUYS_AGAIN: Final = 0.15
_WANDERS: Final = 0.4
_UNCAUSED: Final = 0.14
_COUPONED: Final = 0.05
_TOO_EARLY: Final = 3
_REFUNDED: Final = 0.08
_REFUND_FIRST: Final = 0.3
_TOLD_TWICE: Final = 0.05


class _Listener(NamedTuple):
    address: str
    agent: str


class _Purchase(NamedTuple):
    """A purchase before it is known what becomes of it."""

    at: dt.datetime
    sponsor: int
    customer: str | None
    value_amount: int
    cause: int | None = None
    named: int | None = None
    signal: Signal | None = None
    click: int | None = None
    is_late: bool = False
    leak: Leak | None = None


class _Maker:
    """Makes one world.

    Args:
        seed: The same one makes the same.
        size: How large.
        begin: Its first midnight.
    """

    def __init__(self, seed: int, size: Size, begin: dt.datetime) -> None:
        self.rng = Random(f"castledger sponsorship {seed}")  # noqa: S311  # not for secrets
        self.size = size
        self.begin = begin
        self.end = begin + size.days * _DAY
        self.remembered_from = max(begin, self.end - REMEMBERED)
        homes = Homes(self.rng)
        agents = [agent for app in APPS if app.style is Style.DOWNLOAD for agent in app.agents]
        self.listeners = [
            _Listener(homes.draw().address(self.rng), self.rng.choice(agents)) for _ in range(size.listeners)
        ]
        self.podcasts = self._make_podcasts()
        self.episodes = [episode for podcast in self.podcasts for episode in podcast.episodes]
        self.campaigns = [self._make_campaign(number) for number in range(size.campaigns)]
        self.downloads: list[Download] = []
        self.heard: dict[int, list[tuple[dt.datetime, int]]] = defaultdict(list)
        self.exposed: dict[int, set[dt.date]] = {}
        self.clicks: list[Click] = []
        self.events: list[Event] = []
        self.purchases: list[_Purchase] = []

    def make(self) -> World:
        """Let the time go by."""
        for number in range(len(self.episodes)):
            self._play(number)
        delivered = self._deliver()
        self._buy_without_cause()
        self._leak()
        self._buy_again()
        conversions = self._conclude()
        order = sorted(range(len(self.clicks)), key=lambda place: self.clicks[place])
        place_of = {was: place for place, was in enumerate(order)}
        events = [one if one.click is None else one._replace(click=place_of[one.click]) for one in self.events]
        return World(
            size=self.size,
            begin=self.begin,
            podcasts=self.podcasts,
            campaigns=self.campaigns,
            downloads=sorted(self.downloads),
            clicks=[self.clicks[place] for place in order],
            events=sorted(events, key=lambda one: (one.told_at, one.event_id)),
            conversions=conversions,
            delivered=delivered,
        )

    # What there is.

    def _make_podcasts(self) -> list[Podcast]:
        podcasts: list[Podcast] = []
        first = 0
        for number in range(self.size.podcasts):
            at = self.begin + self.rng.randrange(self.size.every_days) * _DAY + self.rng.randrange(4, 18) * _HOUR
            episodes: list[Episode] = []
            while at < self.end - 2 * _DAY:
                title = f"Episode {len(episodes) + 1}"
                episodes.append(Episode(title, at, _DURATION_S, f"show-{number + 1:02d}"))
                at += self.size.every_days * _DAY
            guid = UUID(int=self.rng.getrandbits(128), version=4)
            podcasts.append(Podcast(f"Show {number + 1:02d} (Castledger demo)", guid, first, episodes))
            first += len(episodes)
        return podcasts

    def _make_campaign(self, number: int) -> Campaign:
        rng = self.rng
        days = rng.randint(self.size.days // 6, self.size.days // 3) + 7
        starts_at = self.begin + rng.randrange(self.size.days - days + 1) * _DAY
        ends_at = starts_at + days * _DAY
        # Nobody hears of it on its first two days, on which its code is said elsewhere already.
        possible = [
            place
            for place, episode in enumerate(self.episodes)
            if starts_at + 2 * _DAY <= episode.published_at < ends_at - 2 * _DAY
        ]
        chosen = sorted(rng.sample(possible, min(len(possible), rng.randint(3, 8))))
        placements = [self._place(place, starts_at, ends_at) for place in chosen]
        return Campaign(
            number=number,
            sponsor=number % self.size.sponsors,
            starts_at=starts_at,
            ends_at=ends_at,
            window=rng.choice((7, 14, 30)) * _DAY,
            code=f"TIDE{number + 1:03d}",
            answer=f"the show about tide {number + 1}",
            placements=placements,
        )

    def _place(self, episode: int, starts_at: dt.datetime, ends_at: dt.datetime) -> Placed:
        is_baked_in = self.rng.random() < 0.5
        published_at = self.episodes[episode].published_at
        quarter = published_at - (published_at - self.begin) % _QUARTER
        return Placed(episode, is_baked_in, max(starts_at, quarter), ends_at + (MEASURED if is_baked_in else _DAY * 0))

    # What is heard.

    def _play(self, number: int) -> None:
        rng = self.rng
        episode = self.episodes[number]
        count = min(len(self.listeners), max(1, round(rng.gauss(1, 0.35) * self.size.audience)))
        for who in rng.sample(range(len(self.listeners)), count):
            self._download(number, who, episode.published_at + dt.timedelta(days=rng.expovariate(1 / 4)))

    def _download(self, number: int, who: int, at: dt.datetime) -> None:
        if at >= self.end:
            return
        listener = self.listeners[who]
        self.downloads.append(Download(at, number, listener.address, listener.agent))
        self.heard[number].append((at, who))
        if self.rng.random() < _REPEAT_DOWNLOADS:
            # Once more on this day, which is the same download, or on another one, which is not.
            self._download(number, who, at + self.rng.uniform(0.2, 30) * _HOUR)

    def _deliver(self) -> dict[tuple[int, int], int]:
        """Count what placements delivered, and have some of those buy who heard them."""
        delivered: dict[tuple[int, int], int] = {}
        heard: list[tuple[Campaign, dt.datetime, int]] = []
        for campaign in self.campaigns:
            for placed in campaign.placements:
                first: dict[tuple[dt.date, int], dt.datetime] = {}
                for at, who in self.heard[placed.episode]:
                    key = (at.date(), who)
                    first[key] = min(at, first.get(key, at))
                live = sorted((at, who) for (_, who), at in first.items() if placed.live_from <= at < placed.live_until)
                delivered[campaign.number, placed.episode] = len(live)
                heard += [(campaign, at, who) for at, who in live]
                self.exposed.setdefault(campaign.number, set()).update(at.date() for at, _ in live)
        for campaign, at, who in heard:
            if self.rng.random() < self.size.buys:
                self._be_convinced(campaign, at, who)
        return delivered

    # Why they buy.

    def _be_convinced(self, campaign: Campaign, heard_at: dt.datetime, who: int) -> None:
        rng = self.rng
        longest = campaign.window / _DAY - 0.1
        at = heard_at + _HOUR + min(rng.expovariate(1 / 3), longest - 0.1) * _DAY
        customer = f"listener-{who}"
        way = rng.choices([name for name, _ in _WAYS], [weight for _, weight in _WAYS])[0]
        if way == "code" and not campaign.knows_code(at):
            way = "survey"
        if way in ("silent", "hunts") and heard_at < self.remembered_from:
            way = "click"
        found = self._code_of_another(campaign, at) if way == "hunts" else None
        bought = _Purchase(at, campaign.sponsor, customer, self._price(), cause=campaign.number)
        match way:
            case "click":
                clicked_at = max(heard_at, at - rng.uniform(0.02, 2) * _HOUR)
                if rng.random() < _STALE_CLICKS:
                    # They keep the page open for longer than anybody looks back.
                    clicked_at = heard_at + _HOUR / 2
                    at = clicked_at + campaign.window + rng.uniform(1, 70) * _HOUR
                    bought = bought._replace(at=at, click=self._click(campaign, clicked_at, who))
                else:
                    click = self._click(campaign, clicked_at, who)
                    bought = bought._replace(named=campaign.number, signal=Signal.CLICK, click=click)
            case "vanity":
                bought = bought._replace(named=campaign.number, signal=Signal.VANITY)
            case "code":
                is_late = at >= campaign.ends_at
                bought = bought._replace(named=campaign.number, signal=Signal.CODE, is_late=is_late)
            case "survey":
                bought = bought._replace(named=campaign.number, signal=Signal.SURVEY)
            case _:
                # They look at the shop first, and come back by themselves.
                self._look(campaign, heard_at + _HOUR / 2, who)
                if found is not None:
                    bought = bought._replace(named=found.number, signal=Signal.CODE)
        if bought.at < self.end:
            self.purchases.append(bought)
            if bought.at >= self.remembered_from and rng.random() < _WANDERS:
                self._wander(bought, who)

    def _code_of_another(self, campaign: Campaign, at: dt.datetime) -> Campaign | None:
        """Find a campaign of the same sponsor whose code is valid, and may have been heard."""
        possible = [
            one
            for one in self.campaigns
            if one.sponsor == campaign.sponsor
            and one.number != campaign.number
            and one.starts_at <= at < one.ends_at
            and any((at - one.window).date() < day < at.date() for day in self.exposed[one.number])
        ]
        return self.rng.choice(possible) if possible else None

    def _wander(self, bought: _Purchase, who: int) -> None:
        """Have somebody come by other campaigns of the sponsor, which convince nobody."""
        rng = self.rng
        for _ in range(rng.randint(1, 2)):
            at = bought.at - rng.uniform(0.2, 26) * _DAY
            others = [
                one
                for one in self.campaigns
                if one.sponsor == bought.sponsor and one.number != bought.cause and one.starts_at <= at
            ]
            if others and at >= self.begin:
                other = rng.choice(others)
                if other.starts_at <= at < other.ends_at and rng.random() < 0.4:
                    self._tell(at, "promo_redeemed", bought.sponsor, f"listener-{who}", promo_code=other.code)
                else:
                    self._look(other, at, who)

    def _look(self, campaign: Campaign, at: dt.datetime, who: int) -> None:
        if at < self.end:
            click = self._click(campaign, at, who)
            self._tell(at + _HOUR / 60, "page_view", campaign.sponsor, f"listener-{who}", click=click)

    def _click(self, campaign: Campaign, at: dt.datetime, who: int) -> int:
        # What lies beyond the end is not told, and neither is the purchase that it leads to.
        if at < self.end:
            is_typed = campaign.vanity_host is not None and len(self.clicks) % 2 == 1
            self.clicks.append(Click(at, campaign.number, self.listeners[who].address, is_typed))
        return len(self.clicks) - 1

    def _buy_without_cause(self) -> None:
        for number in range(round(len(self.purchases) * _UNCAUSED)):
            customer = f"passer-by-{number}" if self.rng.random() < 0.7 else None
            sponsor = self.rng.randrange(self.size.sponsors)
            at = self.begin + self.rng.uniform(0, self.size.days) * _DAY
            self.purchases.append(_Purchase(at, sponsor, customer, self._price()))

    def _leak(self) -> None:
        """Have codes redeemed by people who heard nothing: found on a site, or before anybody could hear them."""
        rng = self.rng
        for number in range(round(len(self.purchases) * _COUPONED)):
            campaign = rng.choice(self.campaigns)
            at = campaign.starts_at + rng.uniform(2.5, (campaign.ends_at - campaign.starts_at) / _DAY) * _DAY
            self._find_code(campaign, at, f"hunter-{number}", Leak.COUPON_REFERRER)
        for campaign in self.campaigns:
            for number in range(_TOO_EARLY):
                at = campaign.starts_at + rng.uniform(0.1, 1.9) * _DAY
                self._find_code(campaign, at, f"early-{campaign.number}-{number}", Leak.NO_EXPOSURE)

    def _find_code(self, campaign: Campaign, at: dt.datetime, customer: str, leak: Leak) -> None:
        if at < min(campaign.ends_at, self.end):
            self.purchases.append(
                _Purchase(
                    at,
                    campaign.sponsor,
                    customer,
                    self._price(),
                    named=campaign.number,
                    signal=Signal.CODE,
                    leak=leak,
                )
            )

    def _buy_again(self) -> None:
        """Have some buy once more, out of habit: nothing that was heard led there, and nothing is said of it."""
        again = [
            _Purchase(one.at + self.rng.uniform(0.5, 55) * _DAY, one.sponsor, one.customer, self._price())
            for one in self.purchases
            if one.customer is not None and self.rng.random() < _BUYS_AGAIN
        ]
        self.purchases += [one for one in again if one.at < self.end]

    # What comes of it.

    def _conclude(self) -> list[Conversion]:
        self.purchases.sort(key=lambda one: (one.at, one.sponsor, one.value_amount))
        counted: dict[tuple[str, int], dt.datetime] = {}
        conversions: list[Conversion] = []
        for number, one in enumerate(self.purchases):
            external_id = f"order-{number + 1}"
            back = self._refund(one) if self.rng.random() < _REFUNDED else 0
            fate = Fate.COUNTED
            if back >= one.value_amount:
                fate = Fate.RETRACTED
            elif one.customer is not None and counts_once(one.sponsor):
                last = counted.get((one.customer, one.sponsor))
                if last is not None and one.at < last + COUNTING:
                    fate = Fate.NOT_COUNTED
                else:
                    counted[one.customer, one.sponsor] = one.at
            self._tell_purchase(one, external_id, back)
            conversions.append(
                Conversion(
                    external_id=external_id,
                    sponsor=one.sponsor,
                    at=one.at,
                    fate=fate,
                    value_amount=one.value_amount - back,
                    named=one.named,
                    signal=one.signal,
                    is_late=one.is_late,
                    leak=one.leak,
                    cause=one.cause,
                    is_weighed=one.at >= self.remembered_from,
                )
            )
        return conversions

    def _refund(self, one: _Purchase) -> int:
        return one.value_amount if self.rng.random() < 0.5 else self.rng.randrange(1, one.value_amount)

    def _tell_purchase(self, one: _Purchase, external_id: str, back: int) -> None:
        rng = self.rng
        campaign = None if one.named is None else self.campaigns[one.named]
        event = Event(
            told_at=one.at,
            at=one.at,
            event_id=self._id(),
            type="purchase",
            sponsor=one.sponsor,
            customer=one.customer,
            external_id=external_id,
            value_amount=one.value_amount,
            click=one.click,
            link=one.named if one.signal is Signal.VANITY else None,
            promo_code=campaign.code if campaign is not None and one.signal is Signal.CODE else None,
            survey_answer=campaign.answer if campaign is not None and one.signal is Signal.SURVEY else None,
            referrer=_COUPONS if one.leak is Leak.COUPON_REFERRER else None,
        )
        self.events.append(event)
        if rng.random() < _TOLD_TWICE:
            # As a whole once more, or by a shop that tells of the same order under another id.
            same_id = event.event_id if rng.random() < 0.5 else self._id()
            told_at = self._by_the_end(one.at + rng.uniform(0, 20) * _HOUR)
            self.events.append(event._replace(told_at=told_at, event_id=same_id))
        if back:
            is_first = rng.random() < _REFUND_FIRST
            later = rng.uniform(-0.5, -0.05) if is_first else rng.uniform(0.1, 9)
            told_at = self._by_the_end(one.at + later * _DAY)
            parts = [back] if back == one.value_amount or back < 2 else [back // 2, back - back // 2]
            for number, part in enumerate(parts):
                self.events.append(
                    Event(
                        told_at=told_at,
                        at=told_at,
                        event_id=self._id(),
                        type="refund",
                        sponsor=one.sponsor,
                        external_id=external_id,
                        value_amount=part,
                        refund_id=f"{external_id}-{number + 1}",
                    )
                )

    def _tell(
        self,
        at: dt.datetime,
        kind: str,
        sponsor: int,
        customer: str,
        *,
        click: int | None = None,
        promo_code: str | None = None,
    ) -> None:
        self.events.append(Event(at, at, self._id(), kind, sponsor, customer, click=click, promo_code=promo_code))

    def _by_the_end(self, at: dt.datetime) -> dt.datetime:
        # What is told later than that would come from the future.
        return min(at, self.end - _HOUR / 60)

    def _price(self) -> int:
        return self.rng.randrange(500, 20_000)

    def _id(self) -> UUID:
        return UUID(int=self.rng.getrandbits(128), version=4)


def make_world(*, seed: int, size: Size, first_day: dt.date) -> World:
    """Make a world.

    Args:
        seed: The same one makes the same.
        size: How large.
        first_day: Its first UTC day.
    """
    return _Maker(seed, size, dt.datetime.combine(first_day, dt.time(), dt.UTC)).make()
