"""The pages on methodology: what they show is so, and their links lead somewhere."""

from __future__ import annotations

import doctest
import re
import tomllib
from pathlib import Path

import pytest

from tests.docs.drawings import draw_windows
from tests.docs.generate import WINDOWS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "methodology"
PAGES = sorted(path.name for path in FOLDER.glob("*.md"))
WITH_EXAMPLES = [name for name in PAGES if "```pycon" in (FOLDER / name).read_text()]


@pytest.mark.parametrize("page", WITH_EXAMPLES)
def test_examples_come_out_as_the_page_says(page: str) -> None:
    blocks = re.findall(r"```pycon\n(.*?)```", (FOLDER / page).read_text(), re.DOTALL)
    found = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, page, str(FOLDER / page), 0)
    assert found.examples
    said: list[str] = []
    result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(found, out=said.append)
    assert result.failed == 0, "".join(said)


@pytest.mark.parametrize("page", ["../methodology.md", *PAGES])
def test_links_lead_to_pages_and_headings(page: str) -> None:
    text = (FOLDER / page).read_text()
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", text):
        path = (FOLDER / page).parent / target if target else FOLDER / page
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{target}#{anchor}"


def test_the_summary_leads_to_every_page() -> None:
    summary = (ROOT / "docs" / "methodology.md").read_text()
    assert [name for name in PAGES if f"(methodology/{name})" not in summary] == []


def test_the_drawing_is_that_of_the_vector() -> None:
    assert WINDOWS.read_text() == draw_windows()
    (vector, *_) = tomllib.loads((ROOT / "tests" / "vectors" / "windows.toml").read_text())["vector"]
    drawn = re.findall(r'<text class="o(?:n|ff)"[^>]*>(\d)</text>', WINDOWS.read_text())
    assert [int(one) for one in drawn] == [*vector["calendar_day"], *vector["first_touch"], *vector["last_touch"]]


@pytest.mark.parametrize("page", ["docs/methodology.md", "docs/methodology/attribution.md"])
def test_what_source_says_of_a_section_is_there(page: str) -> None:
    headings = set(re.findall(r"^#+ (.*)$", (ROOT / page).read_text(), re.MULTILINE))
    rooms = ("analytics_core", "ingest", "api", "prefix_redirect", "castledger_server")
    cited = {
        title
        for room in rooms
        for path in (ROOT / room).rglob("*.py")
        for title in re.findall(rf"``{re.escape(page)}``,\s+\"([^\"]+)\"", path.read_text())
    }
    assert cited
    assert cited - headings == set()
