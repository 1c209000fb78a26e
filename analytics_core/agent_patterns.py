"""Regular expressions of tables of user agents: which are safe to run, and what a text must have for one to match.

A table has hundreds of patterns, and nearly all of them need some word that most agents do not have. Each pattern is
therefore read once for pieces of three characters of which one has to be there, so that only the few patterns whose
piece an agent has are tried at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from typing import Final, NamedTuple

__all__ = ("MAX_PATTERN_CHARS", "PIECE_CHARS", "Pattern", "PatternIndex", "compile_pattern", "pieces_of")

MAX_PATTERN_CHARS: Final = 4096
"""No pattern is longer."""

PIECE_CHARS: Final = 3
"""The length of a piece that a pattern needs."""

_MAX_DEPTH: Final = 20

# How many repetitions, and how many of them of nearly any character, may follow one another: what a search can cost
# grows with the power of the latter.
_MAX_WIDE: Final = 12
_MAX_OPEN: Final = 4

# Repeating what can repeat itself this often takes too long on some texts.
_WIDE: Final = 10

_GROUP: Final = re.compile(r"\(\?(?::|P<app>|=|!|<=|<!)")
_REPEAT: Final = re.compile(r"(?:[*+?]|\{(\d*)(,?)(\d*)\})[?+]?")
_ESCAPE: Final = re.compile(r"\\.", re.DOTALL)
_UPPER: Final = re.compile(r"[A-Z]|[^\W\d_a-z]")
_ZERO_WIDTH: Final = "bBAZ"

# Where a choice is left, a piece that the commonest agents do not have.
_COMMON_TEXT: Final = (
    "mozilla/5.0 (linux; android 10; k) applewebkit/537.36 (khtml, like gecko) chrome/120.0.0.0 mobile safari/537.36 "
    "version/17.2 (iphone; cpu iphone os 17_2_1 like mac os x) (windows nt 10.0; win64; x64) macintosh; intel mac os x "
    "cfnetwork/1490.0.4 darwin/23.2.0 applecoremedia/1.0.0 (linux;android 13) exoplayerlib/2.18 ios; en_us podcast app "
    "spotify/ amazon; alexa echo player https://www. .com/ client radio music http:// +http build/"
)


class Pattern(NamedTuple):
    """A compiled pattern.

    Attributes:
        find: Finds it in a text; the text in lower case where *is_folded*.
        is_folded: Whether case makes no difference and the text has to be in lower case.
        needs: Words in lower case of which one is in every text that matches. ``None``: it may match without any.
    """

    find: Callable[[str], re.Match[str] | None]
    is_folded: bool
    needs: frozenset[str] | None

    @property
    def pieces(self) -> frozenset[str] | None:
        """Of each needed word the piece that the fewest agents have."""
        return None if self.needs is None else frozenset(map(_rarest_piece, self.needs))


def pieces_of(lower: str) -> set[str]:
    """Cut a text in lower case into all its pieces.

    >>> sorted(pieces_of("abcd"))
    ['abc', 'bcd']
    """
    return {lower[at : at + PIECE_CHARS] for at in range(len(lower) - PIECE_CHARS + 1)}


_COMMON: Final = pieces_of(_COMMON_TEXT)


@dataclass(slots=True)
class _Read:
    """What one part of a pattern was found to be.

    Attributes:
        needs: Texts of which one is in every match; ``None`` when that cannot be told.
        wide: How many repetitions of it are wide, one behind the other.
        open: How many of these repeat nearly any character.
        is_loose: Whether it can match one text in more than one way.
        is_anchored: Whether it matches at the beginning only.
    """

    needs: frozenset[str] | None = None
    wide: int = 0
    open: int = 0
    is_loose: bool = False
    is_anchored: bool = False


class _Reader:
    """Reads a pattern that is known to be a regular expression.

    Raises:
        ValueError: It has what we do not allow; the text is the reason.
    """

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0

    def read(self, depth: int = 0) -> _Read:
        """Read alternatives up to the end of their group."""
        if depth > _MAX_DEPTH:
            raise ValueError(f"groups are nested more than {_MAX_DEPTH} deep")
        parts = [self._read_sequence(depth)]
        while self._pattern[self._at : self._at + 1] == "|":
            self._at += 1
            parts.append(self._read_sequence(depth))
        needs: set[str] | None = set()
        for part in parts:
            needs = None if needs is None or part.needs is None else needs | part.needs
        return _Read(
            frozenset(needs) if needs is not None else None,
            max(part.wide for part in parts),
            max(part.open for part in parts),
            len(parts) > 1 or parts[0].is_loose,
            all(part.is_anchored for part in parts),
        )

    def _read_sequence(self, depth: int) -> _Read:
        whole = _Read(is_anchored=self._pattern.startswith("^", self._at))
        choices: list[frozenset[str]] = []
        run = ""
        while self._at < len(self._pattern) and self._pattern[self._at] not in "|)":
            is_open = self._is_open()
            literal, part = self._read_one(depth)
            least, most = self._read_repeat()
            if literal == "" and most == 1 and least == 1:
                continue
            if most >= _WIDE:
                if part.wide or part.is_loose:
                    raise ValueError("a repetition is inside of a repetition, which takes for ever on some texts")
                whole.wide += 1
                whole.open += is_open
            whole.wide += part.wide
            whole.open += part.open
            whole.is_loose |= part.is_loose or least != most
            if literal and least:
                run += literal
                if most == 1:
                    continue
            choices.append(frozenset((run,)))
            run = literal if literal and least and least == most else ""
            if part.needs is not None and least:
                choices.append(part.needs)
        if whole.wide > _MAX_WIDE or whole.open > _MAX_OPEN:
            raise ValueError("too many repetitions without an end follow one another")
        choices.append(frozenset((run,)))
        whole.needs = max(choices, key=_worth)
        if min(map(len, whole.needs)) < PIECE_CHARS:
            whole.needs = None
        return whole

    def _is_open(self) -> bool:
        return self._pattern.startswith((".", "[^", "\\S", "\\W", "\\D", "\\w"), self._at)

    def _read_one(self, depth: int) -> tuple[str | None, _Read]:
        """Read one thing that may be repeated: its character if it is one, ``""`` where it has no width."""
        pattern, start = self._pattern, self._at
        sign = pattern[start]
        self._at += 1
        if sign == "(":
            return self._read_group(depth)
        if sign == "[":
            at = start + 2 if pattern.startswith("^", start + 1) else start + 1
            at += 1 if pattern.startswith("]", at) else 0
            while pattern[at] != "]":
                at += 2 if pattern[at] == "\\" else 1
            self._at = at + 1
            return None, _Read()
        if sign == "\\":
            sign = pattern[start + 1]
            self._at += 1
            if sign in _ZERO_WIDTH:
                return "", _Read()
            if sign.isdigit():
                raise ValueError("references to groups are not allowed")
            if sign.isalpha():
                # A class of characters, or one by its number, whose digits then stand for themselves: no word.
                if sign in "xuUN":
                    raise ValueError("write characters as they are, not by their numbers")
                return None, _Read()
        elif sign in "^$":
            return "", _Read()
        elif sign == ".":
            return None, _Read()
        is_plain = sign.isascii() or sign.lower() == sign.upper()
        return (sign.lower() if is_plain else None), _Read()

    def _read_group(self, depth: int) -> tuple[str | None, _Read]:
        opening = ""
        if self._pattern.startswith("?", self._at):
            match = _GROUP.match(self._pattern, self._at - 1)
            if match is None:
                raise ValueError("groups are (…), (?:…), (?P<app>…), (?=…), (?!…), (?<=…) and (?<!…)")
            opening = match[0][2:]
            self._at = match.end()
        part = self.read(depth + 1)
        self._at += 1
        if opening in {"=", "!", "<=", "<!"}:
            return "", _Read(wide=part.wide, open=part.open)
        return None, part

    def _read_repeat(self) -> tuple[int, int]:
        """Read how often what came before may be there: at least, at most."""
        match = _REPEAT.match(self._pattern, self._at)
        if match is None or match[0][:2] in {"{}", "{"}:
            return 1, 1
        self._at = match.end()
        sign = match[0][0]
        if sign != "{":
            return {"?": (0, 1), "*": (0, _WIDE), "+": (1, _WIDE)}[sign]
        least = int(match[1] or 0)
        return least, int(match[3] or _WIDE) if match[2] else least


def _worth(choice: frozenset[str]) -> tuple[bool, bool, int, int]:
    """Say how well texts of which one is needed tell agents apart: long enough, rare, of few."""
    shortest = min(map(len, choice))
    is_rare = all(not pieces_of(text) <= _COMMON for text in choice)
    return shortest >= PIECE_CHARS, is_rare, shortest, -len(choice)


def _rarest_piece(text: str) -> str:
    pieces = [text[at : at + PIECE_CHARS] for at in range(len(text) - PIECE_CHARS + 1)]
    return next((piece for piece in pieces if piece not in _COMMON), pieces[0])


def compile_pattern(pattern: str) -> Pattern:
    """Compile a pattern that is to be searched for in normalised agents.

    Args:
        pattern: A Python regular expression; ``(?i)`` in front ignores case. References, flags further in and
            repetitions inside of repetitions are not allowed.

    Raises:
        ValueError: It cannot be used; the text is the reason.

    >>> sorted(compile_pattern("(?i)^(?:castaway|overcast)/").pieces or ())
    ['ove', 'sta']
    >>> compile_pattern("(a+)+$")
    Traceback (most recent call last):
    ValueError: a repetition is inside of a repetition, which takes for ever on some texts
    """
    if len(pattern) > MAX_PATTERN_CHARS:
        raise ValueError(f"the pattern has more than {MAX_PATTERN_CHARS} characters")
    body = pattern.removeprefix("(?i)")
    try:
        compiled = re.compile(pattern)
        read = _Reader(body).read()
        if compiled.search("") is not None:
            raise ValueError("the pattern matches everything")
        # Two rewrites with the same meaning make a miss several times cheaper: ignoring case goes over to text that
        # is in lower case already, and what can only match at the beginning is not tried anywhere else.
        is_folded = body != pattern and not _UPPER.search(_ESCAPE.sub("", body).replace("(?P<app>", ""))
        if is_folded:
            compiled = re.compile(body)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"the pattern is no regular expression: {error}") from error
    return Pattern(compiled.match if read.is_anchored else compiled.search, is_folded, read.needs)


class PatternIndex:
    """Tells which of many patterns may match a text, by the words that they need.

    A text is looked at for a piece of each word first, and for the word itself where it has that piece.

    >>> index = PatternIndex()
    >>> index.add(0, compile_pattern("castaway")), index.add(1, compile_pattern("poolside"))
    (None, None)
    >>> list(index.find("poolside/1.0 castaw", pieces_of("poolside/1.0 castaw")))
    [1]
    """

    def __init__(self) -> None:
        # Numbers as bits: of patterns that need a word, by its rarest piece, and of those that any text may match.
        self._by_piece: dict[str, dict[str, int]] = {}
        self._always = 0

    def add(self, number: int, pattern: Pattern) -> None:
        """Enter a pattern under a number."""
        if pattern.needs is None:
            self._always |= 1 << number
        for word in pattern.needs or ():
            words = self._by_piece.setdefault(_rarest_piece(word), {})
            words[word] = words.get(word, 0) | 1 << number

    def find(self, lower: str, pieces: Set[str], more: int = 0) -> Iterator[int]:
        """Give the numbers of the patterns that a text may match, the lowest first.

        Args:
            lower: The text in lower case.
            pieces: What :func:`pieces_of` makes of it.
            more: Numbers as bits that are given in any case.
        """
        found, by_piece = self._always | more, self._by_piece
        for piece in by_piece.keys() & pieces:
            for word, numbers in by_piece[piece].items():
                if word in lower:
                    found |= numbers
        while found:
            lowest = found & -found
            found ^= lowest
            yield lowest.bit_length() - 1
