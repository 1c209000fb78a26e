"""The style: readable in light and dark, and nothing in the templates that its rules would forbid."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGES = Path(__file__).parents[3] / "api" / "pages"
CSS = (PAGES / "static" / "page.css").read_text()


def variables(scheme: str) -> dict[str, str]:
    """Read the colours of a scheme; dark ones stand over the light ones."""
    blocks = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    assert len(blocks) == 2
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", blocks[0]))
    return found | (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", blocks[1])) if scheme == "dark" else {})


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("ink", "paper", "least"),
    [
        # WCAG 2.2, 1.4.3: text.
        *((ink, paper, 4.5) for ink in ("ink", "muted", "accent", "fault") for paper in ("paper", "raised")),
        ("accent-ink", "accent", 4.5),
        # 1.4.11: what a chart or a control is made of.
        *((shape, "paper", 3.0) for shape in ("accent", "soft", "former", "edge")),
    ],
)
def test_everything_can_be_told_from_what_it_stands_on(scheme: str, ink: str, paper: str, least: float) -> None:
    colours = variables(scheme)
    assert contrast(colours[ink], colours[paper]) >= least


def test_contrast_is_computed_as_the_guideline_does() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("template", sorted(path.name for path in (PAGES / "templates").glob("*.html")))
def test_templates_hold_nothing_that_the_security_policy_forbids_and_nothing_unescaped(template: str) -> None:
    text = (PAGES / "templates" / template).read_text()
    assert not re.search(r"\sstyle=|<style|<script(?! src=)|\son\w+=|javascript:", text)
    assert not re.search(r"\|\s*safe\b|autoescape", text)
    outside = set(re.findall(r"(?:src|href)=\"(https?://[^\"]+)", text))
    assert outside <= {"https://iabtechlab.com/standards/podcast-measurement-guidelines/"}


def test_the_style_loads_nothing() -> None:
    assert "url(" not in CSS
    assert "@import" not in CSS
