"""Passwords: which are refused, and how the others are kept.

A password is hashed to 44 characters before bcrypt sees it, which reads no more than 72 bytes and none behind a NUL.

Source:
    NIST SP 800-63B-4, section 3.1.1.2 (length over composition, lists of common ones, no names of the context);
    OWASP Password Storage Cheat Sheet (bcrypt, pre-hashing).
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

import bcrypt

from analytics_core.errors import InvalidInput, Unavailable

__all__ = ("MAX_BYTES", "MIN_CHARACTERS", "PasswordHasher", "check_password")

_Result = TypeVar("_Result")

MIN_CHARACTERS: Final = 10
MAX_BYTES: Final = 1024

# Keyed, so that hashes that leaked elsewhere cannot be tried as they are.
_PREHASH_KEY: Final = b"castledger password 1"
_MIN_DISTINCT: Final = 4
_MIN_BESIDE: Final = 6
_SEQUENCES: Final = (
    "01234567890123456789",
    "abcdefghijklmnopqrstuvwxyz",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm",
    "azertyuiopqsdfghjklmwxcvbn",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
    "1q2w3e4r5t6y7u8i9o0p",
)
# What the lists of leaked passwords have most of, without the digits and signs that people put around them.
_WORDS: Final = """
password passwort motdepasse contrasena senha passw pass passphrase mypassword newpassword secret secrets topsecret
admin administrator root superuser user guest test tester testing demo default changeme changeit letmein letmeinnow
welcome welcomeback login signin access enter open opensesame hello helloworld iloveyou iloveu ilove loveyou lovely
love princess sunshine monkey dragon master superman batman spiderman pokemon starwars trustno football baseball
basketball soccer liverpool chelsea arsenal manchester barcelona realmadrid shadow michael jennifer jessica ashley
charlie thomas daniel jordan hunter killer summer winter autumn spring january february march april june july august
september october november december monday tuesday wednesday thursday friday saturday sunday freedom whatever
computer internet samsung apple iphone android google facebook instagram linkedin twitter youtube microsoft windows
linux ubuntu oracle mysql postgres postgresql server database qwerty qwertz azerty asdf asdfgh asdfghjkl zxcvbn
zxcvbnm qazwsx qweasd qweasdzxc abc abcd abcdef abcabc company business office money cheese chocolate cookie
flower butterfly angel angels jesus christ blessed family friends forever mustang ferrari mercedes porsche
correcthorsebatterystaple podcast podcasts podcaster castledger
"""
_COMMON: Final = frozenset(_WORDS.split())
_LEET: Final = str.maketrans("013457@$!|", "oieastasil")
_NO_LETTER: Final = re.compile(r"[\W\d_]+")


def _letters(text: str) -> str:
    """Reduce a text to its letters, with the digits and signs that stand for some read as such.

    >>> _letters("2024 P@ssw0rd!!")
    'password'
    """
    core = text.casefold().strip("0123456789 \t!?.,;:*#+-_=~'\"()[]{}<>/\\^&%")
    return _NO_LETTER.sub("", core.translate(_LEET))


def _is_run(text: str) -> bool:
    """Tell whether a text is a piece of a keyboard's row, the alphabet or the digits, forward or backward.

    >>> _is_run("6543210987"), _is_run("ertyuiopas"), _is_run("correct hor")
    (True, True, False)
    """
    return any(text in row or text[::-1] in row for row in _SEQUENCES)


def _words_of(context: Iterable[str]) -> set[str]:
    parts = (part for text in context for part in re.split(r"[\W_]+", text.casefold()))
    return {part for part in parts if len(part) >= 3}


def check_password(password: str, *, context: Iterable[str] = (), path: str = "/password") -> None:
    """Refuse a password that would not keep anybody out.

    Args:
        password: As typed.
        context: What those who know its owner would try, such as their mail address and name.
        path: Where it stands, for the error.

    Raises:
        InvalidInput: With the code ``weak_password`` and the reason.

    >>> check_password("O'Brien; DROP TABLE 🏰")
    """
    try:
        size = len(password.encode())
    except UnicodeEncodeError:
        raise InvalidInput(path, "holds half a character", code="weak_password") from None
    if size > MAX_BYTES:
        raise InvalidInput(path, f"has more than {MAX_BYTES} bytes", code="weak_password")
    text = unicodedata.normalize("NFC", password)
    if len(text) < MIN_CHARACTERS:
        raise InvalidInput(path, f"has fewer than {MIN_CHARACTERS} characters", code="weak_password")
    folded = text.casefold()
    if len(set(folded)) < _MIN_DISTINCT or _is_run(folded):
        raise InvalidInput(path, "is a row of keys or the same few characters", code="weak_password")
    if _letters(text) in _COMMON:
        raise InvalidInput(path, "is among the first that are tried: a common word, decorated", code="weak_password")
    rest = folded
    for word in sorted({*_words_of(context), "castledger"}, key=len, reverse=True):
        rest = rest.replace(word, "")
    if rest != folded and len(_NO_LETTER.sub("", rest)) < _MIN_BESIDE:
        raise InvalidInput(path, "is little more than your mail address, your name or ours", code="weak_password")


def _prehash(password: str) -> bytes:
    text = unicodedata.normalize("NFC", password).encode("utf-8", errors="surrogatepass")
    return base64.b64encode(hmac.digest(_PREHASH_KEY, text, "sha256"))


class PasswordHasher:
    """Hashes passwords and compares them, in threads, so that nobody else waits for it.

    Args:
        cost: Of bcrypt: each one more takes twice as long.
        at_once: How many may be worked on; each takes a processor.
        waiting: How many may wait beside them.
    """

    def __init__(self, cost: int, *, at_once: int = 2, waiting: int = 64) -> None:
        self._cost = cost
        self._slots = asyncio.Semaphore(at_once)
        self._left = at_once + waiting
        # Nobody's password has this hash, and finding that out takes as long as for any other.
        self._nobodys = f"$2b${cost:02d}${'.' * 53}".encode()

    async def hash(self, password: str) -> str:
        """Hash a password for storage.

        Raises:
            Unavailable: Too many are being worked on.
        """
        hashed = await self._run(lambda: bcrypt.hashpw(_prehash(password), bcrypt.gensalt(self._cost)))
        return hashed.decode("ascii")

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Compare a password with a stored hash; with ``None``, for nobody, it takes as long and is wrong.

        Raises:
            Unavailable: Too many are being worked on.
        """
        stored = self._nobodys if password_hash is None else password_hash.encode()
        is_right = await self._run(lambda: bcrypt.checkpw(_prehash(password), stored))
        return is_right and password_hash is not None

    def is_outdated(self, password_hash: str) -> bool:
        """Tell whether a hash was made at a lower cost, and its password should be hashed again when it is at hand.

        >>> PasswordHasher(5).is_outdated("$2b$04$" + "x" * 53)
        True
        """
        return int(password_hash.split("$")[2]) < self._cost

    async def _run(self, work: Callable[[], _Result]) -> _Result:
        if self._left == 0:
            raise Unavailable("too many passwords are being compared", retry_after_s=2)
        self._left -= 1
        try:
            async with self._slots:
                return await asyncio.to_thread(work)
        finally:
            self._left += 1
