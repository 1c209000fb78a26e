"""Traffic as it comes, with what is true of it: seeded, so that a failure can be looked at again."""

from __future__ import annotations

import asyncio
import csv
import datetime as dt
import ipaddress
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from analytics_core.agent_table import classify
from analytics_core.user_agents import AgentKind

OWN_AGENTS = (
    ("Podcasts/4023.410.2 CFNetwork/1492.0.1 Darwin/23.3.0", 30),
    ("AppleCoreMedia/1.0.0.21E236 (iPhone; U; CPU OS 17_4_1 like Mac OS X; en_us)", 20),
    ("Overcast/3.0 (+http://overcast.fm/; iOS podcast app)", 20),
    ("Spotify/8.9.18 Android/33 (SM-G998B)", 20),
    ("AntennaPod/3.3.2", 5),
    ("Googlebot/2.1 (+http://www.google.com/bot.html)", 5),
    ("atc/1.0 watchOS/10.4 model/Watch6,2 hwp/t8301 build/21T216 (6; dt:226)", 7),
    ("", 1),
)


class Sent(NamedTuple):
    """One request and the truth about it."""

    at_us: int
    target: str
    episode: int | None
    address: str
    agent: str
    method: str
    byte_range: str
    enough: str


# What each range says, worked out by hand from the methodology for files of 20 MB and more.
RANGES = (
    ("", "full", 55),
    ("bytes=0-", "full", 12),
    ("bytes=0-1", "probe", 12),
    ("bytes=0-9999999", "partial", 6),
    ("bytes=2000000-", "partial", 3),
    ("bytes=0-99", "tiny", 5),
    ("bytes=-128", "tiny", 3),
    ("nonsense", "full", 1),
)


def agents(data: Path | None) -> tuple[list[str], list[int]]:
    """The agents to draw from: real ones by weight where they lie, else a few of our own."""
    if data is None:
        return [agent for agent, _ in OWN_AGENTS], [weight for _, weight in OWN_AGENTS]
    with (data / "useragents" / "real_user_agents.csv").open(newline="", encoding="utf-8") as file:
        rows = [(row["user_agent"], int(row["count"])) for row in csv.DictReader(file)]
    # What no header can carry is left out; one that is empty stays.
    kept = [
        (agent, count) for agent, count in rows if agent.isascii() and agent.isprintable() and agent == agent.strip()
    ]
    return [agent for agent, _ in kept], [count for _, count in kept]


def make(
    targets: Sequence[Sequence[str]], *, unknown: Sequence[str], boundary: dt.datetime, count: int, data: Path | None
) -> list[Sent]:
    """Make *count* requests around *boundary*: many listeners, repeats of some, all kinds of ranges and targets."""
    rng = random.Random(20261101)
    names, weights = agents(data)
    listeners = []
    for number in range(count // 5):
        if number % 3 == 0:
            address = str(
                ipaddress.IPv6Address((0x2A02_0810 << 96) + (rng.getrandbits(30) << 66) + rng.getrandbits(60))
            )
        else:
            address = str(ipaddress.IPv4Address(0x5100_0000 + rng.getrandbits(22)))
        listeners.append((address, rng.choices(names, weights)[0]))
    start = int(boundary.timestamp()) - 4 * 3600
    sent = []
    for _ in range(count):
        address, agent = rng.choice(listeners)
        if ":" in address and rng.random() < 0.3:
            # Another interface of the same home.
            base = int(ipaddress.IPv6Address(address)) >> 64 << 64
            address = str(ipaddress.IPv6Address(base + rng.getrandbits(60)))
        byte_range, enough, _ = rng.choices(RANGES, [weight for *_, weight in RANGES])[0]
        episode = None if rng.random() < 0.005 else min(int(rng.expovariate(0.3)), len(targets) - 1)
        target = rng.choice(unknown) if episode is None else rng.choice(targets[episode])
        method = "HEAD" if rng.random() < 0.03 else "GET"
        at_us = (start + rng.randrange(24 * 3600)) * 1_000_000 + rng.randrange(1_000_000)
        sent.append(Sent(at_us, target, episode, address, agent, method, byte_range, enough))
    return sent


class Truth(NamedTuple):
    """What has to come out, worked out from the requests alone."""

    downloads: dict[dt.date, int]
    strict: dict[dt.date, int]
    by_app: Counter[str]
    hits: dict[dt.date, int]
    unknown: int


def count_by_brute_force(sent: Sequence[Sent]) -> Truth:
    """Count as the methodology's page says, one request after the other."""
    listened: dict[tuple[dt.date, int, str, str], set[str]] = defaultdict(set)
    hits: Counter[dt.date] = Counter()
    unknown = 0
    for request in sent:
        day = dt.datetime.fromtimestamp(request.at_us / 1e6, dt.UTC).date()
        hits[day] += 1
        if request.episode is None:
            unknown += 1
            continue
        kind = classify(request.agent).kind
        if request.method == "HEAD" or not request.agent or kind in (AgentKind.BOT, AgentKind.WATCH):
            continue
        if request.enough == "tiny":
            continue
        address = ipaddress.ip_address(request.address)
        home = str(address) if address.version == 4 else str(ipaddress.IPv6Address(int(address) >> 64 << 64))
        listened[day, request.episode, home, request.agent].add(request.enough)
    downloads: Counter[dt.date] = Counter()
    strict: Counter[dt.date] = Counter()
    by_app: Counter[str] = Counter()
    for (day, _, _, agent), evidence in listened.items():
        downloads[day] += 1
        strict[day] += evidence != {"probe"}
        by_app[classify(agent).app] += 1
    return Truth(dict(downloads), dict(strict), by_app, dict(hits), unknown)


async def _send_some(port: int, requests: Sequence[Sent]) -> Counter[int]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    statuses: Counter[int] = Counter()
    for at in range(0, len(requests), 32):
        batch = requests[at : at + 32]
        for request in batch:
            lines = [
                f"{request.method} {request.target} HTTP/1.1",
                "Host: pod.example.com",
                f"X-Forwarded-For: 203.0.113.9, {request.address}",
                f"Castledger-Replay-Time: {request.at_us}",
            ]
            if request.agent:
                lines.append(f"User-Agent: {request.agent}")
            if request.byte_range:
                lines.append(f"Range: {request.byte_range}")
            writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        await writer.drain()
        for _ in batch:
            head = await reader.readuntil(b"\r\n\r\n")
            statuses[int(head.split(b" ", 2)[1])] += 1
    writer.close()
    await writer.wait_closed()
    return statuses


async def send(port: int, requests: Sequence[Sent], *, connections: int = 8) -> Counter[int]:
    """Send requests over some connections at once, pipelined, and count the answers by status."""
    shares = [requests[number::connections] for number in range(connections)]
    total: Counter[int] = Counter()
    for statuses in await asyncio.gather(*(_send_some(port, share) for share in shares if share)):
        total.update(statuses)
    return total
