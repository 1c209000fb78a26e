"""Things by the names that people give them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from analytics_core.errors import InvalidInput
from castledger_server.commands import printable

__all__ = ("choose", "name_some")

T = TypeVar("T")

_NAMED: Final = 10


def choose(
    things: Iterable[T],
    text: str,
    *,
    option: str,
    what: str,
    title: Callable[[T], str],
    keys: Callable[[T], tuple[str, ...]],
    may_be_part: bool = False,
) -> T:
    """Find what is named: by a key, by its whole title without regard to case, or by a part that no other title has.

    Args:
        things: All that there are.
        text: What somebody wrote.
        option: Where they wrote it, for the error.
        what: What they are called, one of them.
        title: How one is called.
        keys: Its id, and what else names it alone.
        may_be_part: Whether a part of a title is enough.

    Raises:
        InvalidInput: There is none, or a choice; the message names up to ten.

    >>> choose(["Autumn", "Spring"], "spring", option="NAME", what="season", title=str, keys=lambda one: ())
    'Spring'
    """
    found, wanted = list(things), text.strip().casefold()
    for matches in (
        [one for one in found if wanted in (key.casefold() for key in keys(one))],
        [one for one in found if title(one).casefold() == wanted],
        [one for one in found if may_be_part and wanted and wanted in title(one).casefold()],
    ):
        if len(matches) == 1:
            return matches[0]
        if matches:
            listed = name_some(f"{keys(one)[0]}  {printable(title(one))}" for one in matches)
            raise InvalidInput(option, f"{len(matches):,} {what}s are named {printable(text)!r}; give an id:{listed}")
    listed = name_some(sorted(printable(title(one)) for one in found))
    raise InvalidInput(
        option, f"there is no {what} {printable(text)!r}" + (f"; there are:{listed}" if found else ", nor any other")
    )


def name_some(lines: Iterable[str]) -> str:
    """Write up to ten lines for the end of a message.

    >>> name_some(["One", "Two"])
    '\\n  One\\n  Two'
    """
    shown = list(lines)
    return "".join(f"\n  {line}" for line in shown[:_NAMED]) + ("\n  …" if len(shown) > _NAMED else "")
