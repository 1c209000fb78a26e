"""Which episode a target belongs to: a batch's, by column and remembered, as one target's after the other."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_core.db.catalogue import NEVER_US, find_podcasts
from analytics_core.db.pending import PendingTarget
from analytics_core.db.pool import Connection
from analytics_core.enclosures import identify, parse_prefix_arguments
from analytics_core.errors import InvalidInput
from analytics_core.settings import DatabaseSettings
from ingest.catalogue import Catalogue, Episode, Resolved, episode_of, match_targets
from tests.factories import MadePodcast, make_episode, make_podcast
from tests.ledgers import Ledger

pytestmark = pytest.mark.anyio

OURS = frozenset({"pod.example.org"})

TARGETS = st.builds(
    "{}{}/{}{}".format,
    st.sampled_from(("", "https://", "op3.dev/e/", "pdst.fm/e/pod.example.org/e/", "pod.example.org/e,pg=x/")),
    st.sampled_from(("cdn.example.com", "CDN.example.com:443", "old.example.net", "other.example.org")),
    st.sampled_from(
        (
            "a.mp3",
            "%61.mp3",
            "b.mp3",
            "dated.mp3",
            "twice.mp3",
            "hls/master.m3u8",
            "list",
            "live.mp3",
            "unknown.mp3",
            "",
        )
    ),
    st.sampled_from(("", "", "?_from=overcast", "?v=1", "?v=2", "?v=3", "?_from=x&v=1", "#t=1")),
).map(str.encode) | st.sampled_from((b"", b"?", b"ftp://cdn.example.com/a.mp3", b"\xff\x00", b"localhost"))


class Made(msgspec.Struct):
    """Two podcasts that share names of files."""

    first: MadePodcast
    second: MadePodcast

    def arguments(self) -> list[bytes]:
        texts = (f"pg={self.first.guid}", f"x=1,pg={self.second.guid}", f"pg={UUID(int=0)}", "pg=nonsense", "")
        return [text.encode() for text in texts]


@pytest.fixture
async def made(database: DatabaseSettings, podcast: MadePodcast) -> Made:
    first = await make_podcast(
        database,
        podcast.tenant,
        make_episode("dated", published_at=None, duration_s=None, length_bytes=None),
        make_episode("query", "https://cdn.example.com/twice.mp3?v=1", "https://cdn.example.com/list?v=1"),
        make_episode("other query", "https://cdn.example.com/twice.mp3?v=2"),
        make_episode("live", live=True, published_at=dt.datetime(1970, 1, 1, 0, 0, 0, 1, dt.UTC)),
        guid=uuid4(),
    )
    second = await make_podcast(
        database,
        podcast.tenant,
        make_episode("hls", "https://cdn.example.com/hls/master.m3u8", "https://other.example.org/b.mp3"),
        guid=uuid4(),
    )
    return Made(first, second)


def read_row(resolved: Resolved, place: int) -> Episode | None:
    row = resolved.rows[place]
    if not row["episode_no"]:
        return None
    return Episode(
        int(row["tenant_no"]),
        int(row["podcast_no"]),
        int(row["episode_no"]),
        None if row["length_bytes"] == -1 else int(row["length_bytes"]),
        None if row["duration_s"] == -1 else int(row["duration_s"]),
        None if row["published_us"] == NEVER_US else int(row["published_us"]),
        bool(row["live"]),
        bool(row["playlist"]),
    )


async def check(conn: Connection, pairs: Sequence[tuple[bytes, bytes]], resolved: Resolved) -> None:
    """Hold what was resolved against each pair on its own."""
    assert resolved.waiting.keys() == {place for place in range(len(pairs)) if not resolved.rows[place]["episode_no"]}
    for place, (target, arguments) in enumerate(pairs):
        guid = parse_prefix_arguments(arguments).podcast_guid
        named = (await find_podcasts(conn, [guid])).get(guid) if guid is not None else None
        podcast_no = named.podcast_no if named is not None else 0
        try:
            identity = identify(target, own_hosts=OURS)
        except InvalidInput:
            assert resolved.waiting[place].podcast_no == podcast_no
            assert resolved.waiting[place].file_name == ""
            continue
        wanted = PendingTarget(identity.key, identity.bare_key, podcast_no, identity.file_name)
        (owner,) = await match_targets(conn, [wanted])
        if owner is None:
            assert resolved.waiting[place] == wanted
            assert resolved.rows[place]["tenant_no"] == (named.tenant_no if named is not None else 0)
            assert resolved.rows[place]["podcast_no"] == podcast_no
        else:
            assert read_row(resolved, place) == episode_of(owner)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(st.tuples(TARGETS, st.integers(0, 4)), unique=True, max_size=25), max_size=3))
async def test_batches_resolve_as_their_targets_one_by_one(
    ledger: Ledger, made: Made, batches: list[list[tuple[bytes, int]]]
) -> None:
    catalogue, arguments = Catalogue(own_hosts=OURS), made.arguments()
    for batch in batches:
        pairs = [(target, arguments[argument]) for target, argument in batch]
        await check(ledger.conn, pairs, await catalogue.resolve(ledger.conn, pairs))
    # Once more, when all that could be is remembered.
    for batch in batches:
        pairs = [(target, arguments[argument]) for target, argument in batch]
        await check(ledger.conn, pairs, await catalogue.resolve(ledger.conn, pairs))


async def test_a_playlist_is_known_by_its_name_alone(ledger: Ledger, made: Made) -> None:
    """Rows of versions that did not know of playlists say nothing of them."""
    pairs = [(b"cdn.example.com/hls/master.m3u8", b""), (b"other.example.org/b.mp3", b"")]
    await ledger.conn.execute("update app.enclosure_owners set is_playlist = false")
    resolved = await Catalogue().resolve(ledger.conn, pairs)
    assert resolved.rows["playlist"].tolist() == [True, False]
    await check(ledger.conn, pairs, resolved)


async def test_arguments_and_target_are_not_taken_for_others_that_are_written_alike(ledger: Ledger, made: Made) -> None:
    catalogue = Catalogue(own_hosts=OURS)
    guid = str(made.first.guid).encode()
    pairs = [(b"old.example.net/dated.mp3", b"pg=" + guid), (guid + b"old.example.net/dated.mp3", b"pg=")]
    for _ in range(2):
        resolved = await catalogue.resolve(ledger.conn, pairs)
        assert [bool(row["episode_no"]) for row in resolved.rows] == [True, False]
