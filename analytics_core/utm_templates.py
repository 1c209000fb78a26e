"""Templates of campaign parameters: a campaign says once what the links of its flights carry."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Final

from analytics_core.errors import InvalidInput
from analytics_core.links import MAX_UTM_CHARS, UTM

__all__ = ("PLACEHOLDERS", "fill_utm", "parse_utm_template", "slugify")

PLACEHOLDERS: Final = ("campaign", "flight", "podcast", "sponsor")
"""What a value may hold in braces: each is the slug of a name."""

_PLACE: Final = re.compile(r"\{([^{}]*)\}")
_HYPHENS: Final = re.compile("-{2,}")
# Accents of Latin, Greek and Cyrillic letters; marks of other scripts are vowels.
_ACCENT: Final = re.compile("[\u0300-\u036f]")


def slugify(text: str) -> str:
    """Write a name as it stands in a query: small letters and digits of any script, hyphens between words.

    >>> slugify("The Größe Show: #1!"), slugify("東京 Radio"), slugify("हिन्दी"), slugify("!!")
    ('the-grosse-show-1', '東京-radio', 'हिन्दी', '')
    """
    # Twice: letters that are written as others, as 𝕊 is, have a case of their own once they are those.
    plain = _ACCENT.sub("", unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text.casefold()).casefold()))
    parts = (letter if _is_of_a_word(letter) else "-" for letter in unicodedata.normalize("NFC", plain))
    return _HYPHENS.sub("-", "".join(parts)).strip("-")


def _is_of_a_word(letter: str) -> bool:
    return letter.isalnum() or unicodedata.category(letter).startswith("M")


def parse_utm_template(template: Mapping[str, str], *, path: str = "/utm") -> dict[str, str]:
    """Read a template.

    Args:
        template: Values by name, without ``utm_``.
        path: Where it stands, for the error.

    Raises:
        InvalidInput: ``utm_invalid``: a name, a value or a placeholder that there is none of.

    >>> parse_utm_template({"source": "{podcast}", "medium": "podcast"})
    {'source': '{podcast}', 'medium': 'podcast'}
    """
    known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
    for name, value in template.items():
        if name not in UTM:
            raise InvalidInput(path, f"has {', '.join(UTM)} and nothing else", code="utm_invalid")
        if not 0 < len(value) <= MAX_UTM_CHARS or not value.isprintable():
            raise InvalidInput(f"{path}/{name}", f"has 1 to {MAX_UTM_CHARS} visible characters", code="utm_invalid")
        rest = _PLACE.sub(lambda found: "" if found[1] in PLACEHOLDERS else found[0], value)
        if "{" in rest or "}" in rest:
            raise InvalidInput(f"{path}/{name}", f"knows these placeholders alone: {known}", code="utm_invalid")
    return dict(template)


def fill_utm(template: Mapping[str, str], names: Mapping[str, str | None]) -> dict[str, str]:
    """Put names into a template.

    Args:
        template: As :func:`parse_utm_template` read it.
        names: By placeholder; ``None``, and one of which nothing is left as a slug, for one that is not known.

    Returns:
        Campaign parameters by name; one that would need what is not known is left out, and one that becomes longer
        than 200 characters is cut.

    >>> fill_utm({"source": "{podcast}", "campaign": "x-{campaign}"}, {"podcast": None, "campaign": "Spring Sale"})
    {'campaign': 'x-spring-sale'}
    """
    slugs = {name: slugify(text) for name, text in names.items() if text is not None}
    filled = {}
    for name in UTM:
        value = template.get(name)
        if value and all(slugs.get(place) for place in _PLACE.findall(value)):
            filled[name] = _PLACE.sub(lambda found: slugs[found[1]], value)[:MAX_UTM_CHARS]
    return filled
