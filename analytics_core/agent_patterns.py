"""Regular expressions of tables of user agents: which are safe to run, and what a text must have for one to match.

A table has hundreds of patterns, and nearly all of them need some word that most agents do not have. Each pattern is
therefore cut into its alternatives, and each of these read once for words of which one has to be there, so that only
the few whose word an agent has are tried at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

__all__ = ("MAX_PATTERN_CHARS", "Alternative", "Pattern", "PatternIndex", "Piece", "compile_pattern", "pieces_of")

MAX_PATTERN_CHARS: Final = 4096
"""No pattern is longer."""

Piece: TypeAlias = tuple[str, str, str]
"""Three characters that follow one another: as a tuple, which costs half of what a text does."""

_PIECE_CHARS: Final = 3
_MOST_SHORT_WORDS: Final = 3
"""Words without a piece are looked for in every text, so that many of them cost more than trying what needs them."""

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
_WORD_BEGINS: Final = re.compile(r"^\\b([A-Za-z0-9]+)(?![*+?{])")

# Letters that ignore case in regular expressions, but whose lower case is themselves or two characters: words in lower
# case say nothing of what patterns may match then.
_ODD_CASE: Final = re.compile("[ſıİ]")

# Where a choice is left, a piece that the commonest agents do not have.
_COMMON_TEXT: Final = (
    "mozilla/5.0 (linux; android 10; k) applewebkit/537.36 (khtml, like gecko) chrome/120.0.0.0 mobile safari/537.36 "
    "version/17.2 (iphone; cpu iphone os 17_2_1 like mac os x) (windows nt 10.0; win64; x64) macintosh; intel mac os x "
    "cfnetwork/1490.0.4 darwin/23.2.0 applecoremedia/1.0.0 (linux;android 13) exoplayerlib/2.18 ios; en_us podcast app "
    "spotify/ amazon; alexa echo player https://www. .com/ client radio music http:// +http build/"
)


class Alternative(NamedTuple):
    """What a pattern may match, one way of several.

    Attributes:
        find: Finds it in a text; the text in lower case where its pattern is folded.
        needs: Words in lower case of which one is in every text that matches. ``None``: it may match without any.
    """

    find: Callable[[str], re.Match[str] | None]
    needs: frozenset[str] | None


class Pattern(NamedTuple):
    """A compiled pattern.

    Attributes:
        alternatives: It matches where one of them does.
        is_folded: Whether case makes no difference and the text has to be in lower case.
    """

    alternatives: tuple[Alternative, ...]
    is_folded: bool

    def find(self, text: str) -> re.Match[str] | None:
        """Find it in a text that is in lower case if it is folded."""
        return next(filter(None, (alternative.find(text) for alternative in self.alternatives)), None)


def pieces_of(lower: str) -> set[Piece]:
    """Cut a text in lower case into all its pieces.

    >>> sorted(pieces_of("abcd"))
    [('a', 'b', 'c'), ('b', 'c', 'd')]
    """
    return set(zip(lower, lower[1:], lower[2:], strict=False))


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


def _all_needs(parts: list[_Read]) -> frozenset[str] | None:
    """Tell what one of several needs."""
    needs: frozenset[str] = frozenset()
    for part in parts:
        if part.needs is None:
            return None
        needs |= part.needs
    return needs


class _Reader:
    """Reads a pattern that is known to be a regular expression.

    Raises:
        ValueError: It has what we do not allow; the text is the reason.
    """

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0

    def read_all(self) -> list[tuple[str, _Read]]:
        """Read all alternatives, each with its text; none where it ends before its end, which is no pattern."""
        found = []
        start = 0
        while True:
            part = self._read_sequence(0)
            found.append((self._pattern[start : self._at], part))
            if self._pattern[self._at : self._at + 1] != "|":
                return found if self._at == len(self._pattern) else []
            self._at = start = self._at + 1

    def read(self, depth: int) -> _Read:
        """Read alternatives up to the end of their group."""
        if depth > _MAX_DEPTH:
            raise ValueError(f"groups are nested more than {_MAX_DEPTH} deep")
        parts = [self._read_sequence(depth)]
        while self._pattern[self._at : self._at + 1] == "|":
            self._at += 1
            parts.append(self._read_sequence(depth))
        return _Read(
            _all_needs(parts),
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
        if "" in whole.needs or sum(len(word) < _PIECE_CHARS for word in whole.needs) > _MOST_SHORT_WORDS:
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
    return shortest >= _PIECE_CHARS, is_rare, shortest, -len(choice)


def _rarest_piece(text: str) -> Piece | None:
    pieces = list(zip(text, text[1:], text[2:], strict=False))
    return next((piece for piece in pieces if piece not in _COMMON), pieces[0] if pieces else None)


class _Part(NamedTuple):
    """What is compiled by itself."""

    text: str
    is_anchored: bool
    needs: frozenset[str] | None


def _merge(read: list[tuple[str, _Read]]) -> list[_Part]:
    """Make a part of each alternative, and of those together that any text may match."""
    merged = [_Part(text, part.is_anchored, part.needs) for text, part in read if part.needs is not None]
    for is_anchored in (True, False):
        texts = [text for text, part in read if part.needs is None and part.is_anchored is is_anchored]
        if texts:
            merged.append(_Part("|".join(texts), is_anchored, None))
    return merged


def compile_pattern(pattern: str) -> Pattern:
    """Compile a pattern that is to be searched for in normalised agents.

    Args:
        pattern: A Python regular expression; ``(?i)`` in front ignores case. References, flags further in and
            repetitions inside of repetitions are not allowed.

    Raises:
        ValueError: It cannot be used; the text is the reason.

    >>> compile_pattern("(?i)castaway|^overcast/").find("overcast/1.0") is not None
    True
    >>> compile_pattern("(a+)+$")
    Traceback (most recent call last):
    ValueError: a repetition is inside of a repetition, which takes for ever on some texts
    """
    if len(pattern) > MAX_PATTERN_CHARS:
        raise ValueError(f"the pattern has more than {MAX_PATTERN_CHARS} characters")
    body = pattern.removeprefix("(?i)")
    try:
        # Three rewrites with the same meaning make a miss several times cheaper: ignoring case goes over to text that
        # is in lower case already, what can only match at the beginning is not tried anywhere else, and where a word
        # begins is asked once the word is found.
        is_folded = body != pattern and not _UPPER.search(_ESCAPE.sub("", body).replace("(?P<app>", ""))
        flags = re.NOFLAG if is_folded or body == pattern else re.IGNORECASE
        alternatives = []
        for text, is_anchored, needs in _read_parts(body):
            compiled = re.compile(_WORD_BEGINS.sub(r"\1(?<=\\b\1)", text), flags)
            if compiled.search("") is not None:
                raise ValueError("the pattern matches everything")
            alternatives.append(Alternative(compiled.match if is_anchored else compiled.search, needs))
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"the pattern is no regular expression: {error}") from error
    return Pattern(tuple(alternatives), is_folded)


def _read_parts(body: str) -> list[_Part]:
    """Read a pattern without its flag."""
    try:
        read = _Reader(body).read_all()
    except IndexError:
        read = []
    if not read:
        # Says what is wrong with it.
        re.compile(body)
        raise ValueError("the pattern is no regular expression that can be read")
    if "(?P<app>" in body:
        # What it names itself is what the leftmost match says, whichever alternative that is.
        return [_Part(body, all(part.is_anchored for _, part in read), _all_needs([part for _, part in read]))]
    return _merge(read)


class PatternIndex:
    """Finds the first of many patterns that matches a text, by the words that they need.

    A text is looked at for a piece of each word first, and for the word itself where it has that piece.

    >>> index = PatternIndex()
    >>> index.add(0, compile_pattern("castaway")), index.add(1, compile_pattern("poolside"))
    (None, None)
    >>> number, match = index.find("poolside/1.0 castaw", "poolside/1.0 castaw", pieces_of("poolside/1.0 castaw"))
    >>> number, match[0]
    (1, 'poolside')
    """

    def __init__(self) -> None:
        # Of all alternatives: their pattern's number, how they are found, and whether in lower case.
        self._tried: list[tuple[int, Callable[[str], re.Match[str] | None], bool]] = []
        self._pieces: set[Piece] = set()
        # Places in that list: of what needs a word, by its rarest piece, or of what any text may match.
        self._by_piece: dict[Piece, dict[str, list[int]]] = {}
        self._by_short_word: dict[str, list[int]] = {}
        self._always: list[int] = []

    def add(self, number: int, pattern: Pattern) -> None:
        """Enter a pattern under a number, which is above all those before."""
        for alternative in pattern.alternatives:
            place = len(self._tried)
            self._tried.append((number, alternative.find, pattern.is_folded))
            if alternative.needs is None:
                self._always.append(place)
            for word in alternative.needs or ():
                piece = _rarest_piece(word)
                words = self._by_short_word
                if piece is not None:
                    self._pieces.add(piece)
                    words = self._by_piece.setdefault(piece, {})
                words.setdefault(word, []).append(place)

    def find(
        self, text: str, lower: str, pieces: Set[Piece], *, below: int | None = None
    ) -> tuple[int, re.Match[str]] | None:
        """Find the pattern with the lowest number that matches.

        Args:
            text: Any.
            lower: The text in lower case.
            pieces: What :func:`pieces_of` makes of that.
            below: Only patterns with lower numbers are tried.

        Returns:
            Its number, and where it matches the text, or the text in lower case if it is folded.
        """
        for place in self._places(text, lower, pieces):
            number, find, is_folded = self._tried[place]
            if below is not None and number >= below:
                break
            match = find(lower if is_folded else text)
            if match is not None:
                return number, match
        return None

    def _places(self, text: str, lower: str, pieces: Set[Piece]) -> Iterable[int]:
        if not text.isascii() and _ODD_CASE.search(text):
            return range(len(self._tried))
        found = set(self._always)
        # A set and a set: with the dictionary it takes six times as long.
        for piece in self._pieces & pieces:
            for word, places in self._by_piece[piece].items():
                if word in lower:
                    found.update(places)
        for word, places in self._by_short_word.items():
            if word in lower:
                found.update(places)
        return sorted(found)
