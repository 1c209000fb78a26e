"""The schedule: every request of a believable stretch of days, by seed. A pure function; nothing is sent here."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from random import Random
from typing import Final, NamedTuple

from castledger_server.demo.cast import BOTS, WATCH_AGENT, Home, Homes, Listener, make_listeners
from castledger_server.demo.podcast import EPISODES_BEFORE, HOST, LOST_FILE, Episode, make_episodes
from castledger_server.demo.scenes import Ask, ask_for

__all__ = ("Request", "Schedule", "plan")

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_DAY_S: Final = 86_400
_EDITOR_AGENT: Final = "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0"
_REPEATS: Final = 0.12
_OLD_EPISODE_A_DAY: Final = 0.02
_LOST_FILE_A_DAY: Final = 0.002
_BOT_HEADS: Final = 0.3
# Few listen at night, most on the way to work and home.
_HOURS: Final = (2, 1, 1, 1, 2, 4, 9, 14, 12, 8, 7, 7, 8, 7, 6, 7, 9, 12, 11, 8, 7, 6, 5, 3)


class Request(NamedTuple):
    """One request, and what is true of it.

    Attributes:
        at_us: Microseconds since 1970-01-01 UTC.
        target: What stands behind the prefix.
        address: The client's.
        agent: Its user agent.
        method: ``GET`` or ``HEAD``.
        byte_range: ``Range``; empty for none.
        is_prefetch: Whether it says so.
        episode: The episode's place in the schedule; ``None`` for a file that no episode has.
        home: What of the address tells homes apart.
        app: The app's name in reports.
        country: Two letters.
        verdict: What has to be said of it.
        evidence: What it shows when it is eligible; else empty.
    """

    at_us: int
    target: str
    address: str
    agent: str
    method: str
    byte_range: str
    is_prefetch: bool
    episode: int | None
    home: int
    app: str
    country: str
    verdict: str
    evidence: str


class Schedule(NamedTuple):
    """What is played.

    Attributes:
        first_day: First UTC day.
        days: How many.
        episodes: The podcast's, in the order of publication.
        requests: In the order of time.
    """

    first_day: dt.date
    days: int
    episodes: list[Episode]
    requests: list[Request]


def plan(*, seed: int, users: int, first_day: dt.date, days: int) -> Schedule:
    """Plan all requests.

    Args:
        seed: The same one gives the same requests.
        users: Regular listeners, 1 or more.
        first_day: First UTC day.
        days: How many days, 1 or more.

    Returns:
        Requests of these days only, each answered by a redirect when it is sent.

    >>> first = plan(seed=1, users=5, first_day=dt.date(2026, 11, 1), days=7)
    >>> first == plan(seed=1, users=5, first_day=dt.date(2026, 11, 1), days=7)
    True
    """
    stage = _Stage(Random(seed), first_day, days)  # noqa: S311 - it guards nothing
    homes = Homes(stage.rng)
    for listener in make_listeners(stage.rng, homes, users):
        for number, delay_s in stage.listenings(listener):
            stage.listen(listener, number, delay_s)
    stage.bring_bots([homes.draw_machine() for _ in range(max(2, users // 50))], a_day=max(2, users // 40))
    stage.check_before_publication(homes.draw())
    stage.follow_old_links(homes, users)
    stage.requests.sort()
    return Schedule(first_day, days, stage.episodes, stage.requests)


class _Stage:
    def __init__(self, rng: Random, first_day: dt.date, days: int) -> None:
        self.rng = rng
        self.episodes = make_episodes(first_day, days)
        self.requests: list[Request] = []
        self._days = days
        self._begin = dt.datetime.combine(first_day, dt.time(), dt.UTC)
        self._begin_s = int(self._begin.timestamp())
        self._end_s = self._begin_s + days * _DAY_S
        self._published_s = [int(episode.published_at.timestamp()) for episode in self.episodes]

    def listenings(self, listener: Listener) -> Iterator[tuple[int, float]]:
        """Say which episodes a listener listens to, and how many seconds after their publication."""
        rng = self.rng
        joins_s = self._begin_s + listener.joins_at * self._days * _DAY_S
        for number, published_s in enumerate(self._published_s):
            if rng.random() >= listener.appetite:
                continue
            if listener.joins_at and published_s < joins_s:
                # Who finds a podcast listens to some of what there is.
                if rng.random() < 0.5:
                    yield number, joins_s - published_s + rng.expovariate(1 / _DAY_S)
            elif listener.is_prompt:
                yield number, 60 + rng.expovariate(1 / (4 * 3600))
            else:
                yield number, 600 + rng.lognormvariate(11.6, 1.0)
        for day in range(self._days):
            if rng.random() < _OLD_EPISODE_A_DAY:
                at_s = self._begin_s + day * _DAY_S
                number = rng.randrange(EPISODES_BEFORE)
                yield number, at_s - self._published_s[number] + 1

    def listen(self, listener: Listener, number: int, delay_s: float) -> None:
        """Have a listener listen to an episode, perhaps twice, and their watch ask again."""
        rng, home = self.rng, listener.home
        at_s = self._published_s[number] + delay_s
        if delay_s > 6 * 3600:
            at_s = max(self._at_a_likely_hour(at_s, home), self._published_s[number] + 600)
        app, agent = listener.plays_with((at_s - self._begin_s) / (self._end_s - self._begin_s))
        scenes = [at_s]
        if rng.random() < _REPEATS:
            scenes.append(at_s + rng.uniform(600, 30_000))
        for begin_s in scenes:
            for ask in ask_for(self.episodes[number], app.style, rng):
                self._send(begin_s, ask, number, home, agent, app.name)
        if listener.has_watch:
            for after_s in (120.0, 121.5):
                self._send(at_s, Ask(after_s, "watch"), number, home, WATCH_AGENT, app.name)

    def bring_bots(self, places: list[Home], *, a_day: int) -> None:
        """Have bots ask for whatever is out."""
        rng = self.rng
        for day in range(self._days):
            for _ in range(a_day):
                at_s = self._begin_s + rng.uniform(day, day + 1) * _DAY_S
                out = [number for number, published_s in enumerate(self._published_s) if published_s < at_s]
                ask = Ask(0, "head", method="HEAD") if rng.random() < _BOT_HEADS else Ask(0, "bot")
                self._send(at_s, ask, rng.choice(out), rng.choice(places), rng.choice(BOTS), "")

    def check_before_publication(self, home: Home) -> None:
        """Have the editor listen to each new file before it is out."""
        for number in range(EPISODES_BEFORE, len(self.episodes)):
            at_s = self._published_s[number] - self.rng.uniform(300, 3000)
            self._send(at_s, Ask(0, "unpublished", byte_range="bytes=0-"), number, home, _EDITOR_AGENT, "")

    def follow_old_links(self, homes: Homes, users: int) -> None:
        """Have passers-by follow links to a file that no episode has: at least one."""
        rng = self.rng
        for _ in range(max(1, round(users * self._days * _LOST_FILE_A_DAY))):
            at_s = self._begin_s + rng.uniform(0, self._days) * _DAY_S
            self._send(at_s, Ask(0, "unknown_episode"), None, homes.draw(), _EDITOR_AGENT, "")

    def _at_a_likely_hour(self, at_s: float, home: Home) -> float:
        hour = self.rng.choices(range(24), _HOURS)[0] - home.utc_offset_h
        return at_s // _DAY_S * _DAY_S + (hour % 24) * 3600 + self.rng.uniform(0, 3600)

    def _send(self, begin_s: float, ask: Ask, number: int | None, home: Home, agent: str, app: str) -> None:
        at_us = round((begin_s + ask.after_s) * 1_000_000)
        if not self._begin_s * 1_000_000 <= at_us < self._end_s * 1_000_000:
            return
        file_name = LOST_FILE if number is None else self.episodes[number].file_name
        scheme = "https://" if self.rng.random() < 0.1 else ""
        self.requests.append(
            Request(
                at_us=at_us,
                target=f"{scheme}{HOST}/{file_name}",
                address=home.address(self.rng),
                agent=agent,
                method=ask.method,
                byte_range=ask.byte_range,
                is_prefetch=ask.is_prefetch,
                episode=number,
                home=home.network,
                app=app,
                country=home.country,
                verdict=ask.verdict,
                evidence=ask.evidence,
            )
        )
