"""The README's first example, as a developer pastes it: with the twin, the real API, a wrong key, and nobody there."""

from __future__ import annotations

import datetime as dt
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from castledger import AuthenticationError, Castledger, NotFound, Podcast, ValidationError
from sdk.tests.servers import DEADLINE_S, ENVIRON, FEED, Installation
from sdk.tests.twin import KEY


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


def test_the_example_runs_with_the_real_api(installation: Installation, show: Podcast) -> None:
    assert (show.title, show.episodes, show.verified) == ("Castle Talk", 1, True)
    with Castledger(installation.api_key, base_url=installation.api_url) as client:
        assert client.podcasts.get(show.podcast_id).prefix == show.prefix
        [episode] = client.podcasts.episodes(show.podcast_id)
        today = dt.datetime.now(dt.UTC).date()
        # A day before and after: the test may run at midnight.
        start, end = today - dt.timedelta(days=1), today + dt.timedelta(days=2)
        report = client.analytics.downloads(start=start, end=end, episode_id=episode.episode_id)
        assert (report.start.date(), report.end.date()) == (start, end)
        assert (report.tz, report.interval, report.state, report.total) == ("UTC", "day", "live", 1)
        [by_app] = client.analytics.downloads(start=start, end=end, by="app", tz="Asia/Kathmandu").data
        assert (by_app.key, by_app.downloads) == ("AntennaPod", 1)
        assert by_app.start.utcoffset() == dt.timedelta(hours=5, minutes=45)

        [hit] = client.analytics.hits(start=start, end=end)
        assert client.analytics.hit(hit.hit_id) == hit
        assert (hit.episode_id, hit.counted, hit.verdict) == (episode.episode_id, True, "eligible")
        day = client.analytics.explain(day=hit.at.astimezone(dt.UTC).date(), podcast_id=show.podcast_id)
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
        stranger.podcasts.create_from_feed(FEED)
