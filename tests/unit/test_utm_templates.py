"""Templates of campaign parameters: what may stand in one, and what comes of it."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from analytics_core.errors import InvalidInput
from analytics_core.links import UTM, link_target
from analytics_core.utm_templates import PLACEHOLDERS, fill_utm, parse_utm_template, slugify

NAMES = {"campaign": "Spring Sale", "flight": "Flight 1/2", "podcast": "Größe & Co.", "sponsor": "Acme, Inc."}
texts = st.text(max_size=60)
pieces = st.sampled_from([f"{{{name}}}" for name in PLACEHOLDERS] + ["-", "pod", "ü", " "])
templates = st.dictionaries(st.sampled_from(UTM), st.lists(pieces, min_size=1, max_size=6).map("".join))


@given(texts)
@example("𝕊")
def test_a_slug_is_its_own_slug_and_holds_words_alone(text: str) -> None:
    slug = slugify(text)
    assert slugify(slug) == slug
    assert not slug.startswith("-")
    assert not slug.endswith("-")
    assert "--" not in slug
    assert all(letter == "-" or letter.isalnum() or letter.isprintable() for letter in slug)
    assert not set(slug) & set(" &=#?/%+_{}")


@given(templates, st.fixed_dictionaries({name: st.none() | texts for name in PLACEHOLDERS}))
def test_whatever_the_names_no_brace_is_left_and_nothing_is_half_filled(
    template: dict[str, str], names: dict[str, str | None]
) -> None:
    filled = fill_utm(parse_utm_template(template), names)
    for name, value in template.items():
        needed = [place for place in PLACEHOLDERS if f"{{{place}}}" in value]
        assert (name in filled) is all(slugify(names[place] or "") for place in needed)
    for value in filled.values():
        assert 0 < len(value) <= 200
        assert not set(value) & set("{}")


def test_names_are_put_in_as_slugs_and_what_is_written_stays() -> None:
    template = {"source": "{podcast}", "medium": "podcast", "campaign": "{sponsor}_{campaign}", "content": "{flight}"}
    assert fill_utm(parse_utm_template(template), NAMES) == {
        "source": "grosse-co",
        "medium": "podcast",
        "campaign": "acme-inc_spring-sale",
        "content": "flight-1-2",
    }
    filled = fill_utm({**template, "term": "{podcast}"}, {**NAMES, "podcast": None})
    assert sorted(filled) == ["campaign", "content", "medium"]
    assert link_target("https://a.example/", {**filled, "medium": "own"}) == (
        "https://a.example/?utm_medium=own&utm_campaign=acme-inc_spring-sale&utm_content=flight-1-2"
    )


def test_what_gets_too_long_is_cut() -> None:
    assert fill_utm({"term": "{podcast}-{podcast}"}, {"podcast": "x" * 150}) == {"term": "x" * 150 + "-" + "x" * 49}


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ({"sauce": "x"}, "/utm"),
        ({"source": ""}, "/utm/source"),
        ({"source": "x" * 201}, "/utm/source"),
        ({"source": "a\nb"}, "/utm/source"),
        ({"medium": "{episode}"}, "/utm/medium"),
        ({"medium": "{Podcast}"}, "/utm/medium"),
        ({"medium": "{podcast"}, "/utm/medium"),
        ({"medium": "podcast}"}, "/utm/medium"),
        ({"medium": "{{podcast}}"}, "/utm/medium"),
        ({"medium": "{}"}, "/utm/medium"),
    ],
)
def test_what_no_template_holds_is_named(template: dict[str, str], path: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_utm_template(template)
    assert (refused.value.path, refused.value.code) == (path, "utm_invalid")
