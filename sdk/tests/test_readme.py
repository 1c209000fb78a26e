"""The README's first example, as a developer pastes it: with the twin, the real API, a wrong key, and nobody there."""

from __future__ import annotations

import datetime as dt
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from castledger import AuthenticationError, Castledger, NotFound, ValidationError
from sdk.tests.servers import DEADLINE_S, ENVIRON, Installation
from sdk.tests.twin import KEY

_FEED = b"""<rss version="2.0"><channel><title>Castle Talk</title><link>https://show.example.org/</link>
<item><guid>e1</guid><title>One</title><pubDate>Mon, 01 Jun 2026 06:00:00 GMT</pubDate>
<enclosure url="https://cdn.example.org/e1.mp3" type="audio/mpeg" length="28800000"/></item></channel></rss>"""


def paste(**environ: str) -> subprocess.CompletedProcess[str]:
    """Run the example in a fresh interpreter."""
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    example = re.search(r"```python\n(.*?)```", readme, re.DOTALL)
    assert example is not None
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", example[1]],
        check=False,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        env={**ENVIRON, **environ},
    )


def test_the_example_runs_with_the_twin(twin: str) -> None:
    done = paste(CASTLEDGER_API_KEY=KEY, CASTLEDGER_API_URL=twin)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"Show {number} 14 provisional" for number in range(5)]


def test_without_a_server_its_last_line_says_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    done = paste(CASTLEDGER_API_KEY=KEY, CASTLEDGER_API_URL=url)
    assert done.returncode == 1
    assert re.fullmatch(
        rf"castledger\S*\.APIConnectionError: {url} cannot be reached \(.*refused\)\. Is the API running there\? "
        r"`castledger up` starts one; base_url or CASTLEDGER_API_URL says where the API is\.",
        done.stderr.splitlines()[-1],
    )
    assert KEY not in done.stderr


def test_without_a_key_its_last_line_says_where_to_get_one() -> None:
    done = paste()
    assert done.returncode == 1
    assert re.search(r"ConfigurationError: api_key: is missing.*`castledger up`", done.stderr.splitlines()[-1])


def test_the_example_runs_with_the_real_api(installation: Installation) -> None:
    with Castledger(installation.api_key, base_url=installation.api_url) as client:
        podcast = client.podcasts.create_from_feed(_FEED)
        assert (podcast.title, podcast.episodes, podcast.verified) == ("Castle Talk", 1, True)
        assert client.podcasts.get(podcast.podcast_id).prefix == podcast.prefix
        [episode] = client.podcasts.episodes(podcast.podcast_id)
        agent = {"User-Agent": "AntennaPod/3.3.2"}
        target = f"{installation.tracker_url}/e,pg={podcast.podcast_guid}/cdn.example.org/e1.mp3"
        assert httpx.get(target, headers=agent).status_code == 302

        today = dt.datetime.now(dt.UTC).date()
        # A day before and after: the test may run at midnight.
        start, end = today - dt.timedelta(days=1), today + dt.timedelta(days=2)
        deadline = time.monotonic() + DEADLINE_S
        while (report := client.analytics.downloads(start=start, end=end, episode_id=episode.episode_id)).total == 0:
            assert time.monotonic() < deadline, "the hit was not counted"
            time.sleep(0.1)
        assert (report.start.date(), report.end.date()) == (start, end)
        assert (report.tz, report.interval, report.state, report.total) == ("UTC", "day", "live", 1)
        [by_app] = client.analytics.downloads(start=start, end=end, by="app", tz="Asia/Kathmandu").data
        assert (by_app.key, by_app.downloads) == ("AntennaPod", 1)
        assert by_app.start.utcoffset() == dt.timedelta(hours=5, minutes=45)

        [hit] = client.analytics.hits(start=start, end=end)
        assert client.analytics.hit(hit.hit_id) == hit
        assert (hit.episode_id, hit.counted, hit.verdict) == (episode.episode_id, True, "eligible")
        day = client.analytics.explain(day=hit.at.astimezone(dt.UTC).date(), podcast_id=podcast.podcast_id)
        assert (day.hits, day.downloads, sum(row.hits for row in day.verdicts)) == (1, 1, 1)

    done = paste(CASTLEDGER_API_KEY=installation.api_key, CASTLEDGER_API_URL=installation.api_url)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"Castle Talk \d+ (live|provisional|final)\n", done.stdout)


def test_a_wrong_key_is_said_by_the_real_api(installation: Installation) -> None:
    done = paste(CASTLEDGER_API_KEY=KEY, CASTLEDGER_API_URL=installation.api_url)
    assert done.returncode == 1
    assert re.search(r"AuthenticationError: 401 \w+: .*key.* \(request \S+\)", done.stderr.splitlines()[-1])
    assert KEY not in done.stderr


def test_refusals_of_the_real_api_are_typed(installation: Installation) -> None:
    nobody = "0197a000-0000-7000-8000-000000000000"
    with Castledger(installation.api_key, base_url=installation.api_url) as client:
        with pytest.raises(NotFound) as missing:
            client.podcasts.get(nobody)
        with pytest.raises(ValidationError) as wrong:
            client.analytics.downloads(start=dt.date(2026, 11, 1), end=dt.date(2026, 10, 1), by="shoe_size")  # type: ignore[arg-type]  # that is the point
        with pytest.raises(ValidationError, match="feed"):
            client.podcasts.create_from_feed(b"hello")
    assert missing.value.request_id
    assert {fault.pointer for fault in wrong.value.errors} >= {"by"}
    with Castledger(KEY, base_url=installation.api_url) as stranger, pytest.raises(AuthenticationError):
        stranger.podcasts.create_from_feed(_FEED)
