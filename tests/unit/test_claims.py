"""Tokens are found wherever a host may have put them, and nothing else proves anything."""

from __future__ import annotations

from html import escape

from hypothesis import given
from hypothesis import strategies as st

from analytics_core.claims import Proof, find_proof, find_tokens, new_token
from analytics_core.feeds import parse_feed

TOKEN = new_token()

FEED = """<rss xmlns:podcast="https://podcastindex.org/namespace/1.0"
xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd"><channel><title>T</title>{channel}
<item><title>{item}</title><description>{item}</description><podcast:txt purpose="verify">{item}</podcast:txt>
<enclosure url="https://cdn.example.com/a.mp3"/></item>
<podcast:liveItem><title>{item}</title></podcast:liveItem></channel></rss>"""


def proof_in(channel: str, *, item: str = "", token: str = TOKEN) -> Proof | None:
    return find_proof(parse_feed(FEED.format(channel=channel, item=item).encode()), token)


def test_tokens_are_different_each_time() -> None:
    assert len({new_token() for _ in range(1000)}) == 1000


def test_a_token_is_proof_in_the_tag_that_is_made_for_it() -> None:
    assert proof_in(f'<podcast:txt purpose="verify"> {TOKEN}\n</podcast:txt>') is Proof.PODCAST_TXT
    assert (
        proof_in(
            f'<podcast:txt purpose="verify">other</podcast:txt><podcast:txt purpose="verify">{TOKEN}</podcast:txt>'
        )
        is Proof.PODCAST_TXT
    )


def test_a_token_is_proof_anywhere_in_the_channels_text() -> None:
    for channel in (
        f"<description>We talk. {TOKEN}</description>",
        f"<description><![CDATA[<p>We talk.</p><p>{TOKEN}</p>]]></description>",
        f"<description>&lt;b&gt;{TOKEN}&lt;/b&gt;</description>",
        f"<itunes:summary>{'long ' * 5000}{TOKEN}.</itunes:summary>",
        f'<podcast:txt purpose="release">{TOKEN}</podcast:txt>',
    ):
        assert proof_in(channel) is Proof.CHANNEL_TEXT


def test_what_stands_in_items_comments_or_attributes_is_no_proof() -> None:
    assert proof_in("", item=TOKEN) is None
    assert proof_in(f"<!-- {TOKEN} -->") is None
    assert proof_in(f'<description lang="{TOKEN}">x</description>') is None


def test_a_part_of_a_token_or_one_with_more_behind_it_is_no_proof() -> None:
    assert proof_in(f"<description>{TOKEN[:-1]}</description>") is None
    assert proof_in(f"<description>{TOKEN}a</description>") is None
    assert proof_in(f"<description>{new_token()}</description>") is None


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff")),
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff")),
    st.lists(st.builds(new_token), max_size=3),
)
def test_of_a_text_exactly_its_tokens_are_proof(before: str, behind: str, others: list[str]) -> None:
    held = [TOKEN, *others]
    text = before + " ".join(["", *held, ""]) + behind
    assert set(find_tokens(text)) == set(held)
    channel = f"<description>{escape(text)}</description>"
    assert all(proof_in(channel, token=token) is Proof.CHANNEL_TEXT for token in held)
    assert proof_in(channel, token=new_token()) is None
