"""Access tokens: signed, short-lived, and good for one session of one person in one tenant.

A token says whose it is; whether that session, that membership and that tenant still are is looked up each time.

Source:
    RFC 7519; RFC 8725, sections 3.1 (one algorithm, by our choice and not the token's), 3.8 and 3.9 (issuer, audience).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import jwt
import msgspec

from analytics_core.errors import CastledgerError
from analytics_core.ids import new_id

__all__ = ("LIFETIME", "SKEW", "AccessToken", "BadToken", "TokenKeys")

LIFETIME: Final = dt.timedelta(minutes=15)
SKEW: Final = dt.timedelta(seconds=30)
"""By how much the clocks of two of our machines may differ."""

_ALGORITHM: Final = "HS256"
_ISSUER: Final = "castledger"
_AUDIENCE: Final = "castledger-api"
_MAX_CHARACTERS: Final = 2048
_VISIT: Final = re.compile(r"([0-9]{1,12})\.([0-9a-f]{64})", re.ASCII)
_REQUIRED: Final = ("iss", "aud", "sub", "sid", "exp", "iat", "jti", "amr")


class BadToken(CastledgerError):
    """A text is no token of ours, or no longer good; the message is for the log, not for who sent it."""

    code = "bad_token"


class AccessToken(msgspec.Struct, frozen=True):
    """What a token says; ``tenant_id`` is ``None`` for somebody who belongs to no tenant."""

    user_id: UUID
    session_id: UUID
    tenant_id: UUID | None


class TokenKeys:
    """Signs tokens with the first of its secrets and reads those of all, so that a secret can be exchanged in use.

    Args:
        secrets: At least one.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        keys = [hmac.digest(secret.encode(), b"castledger access token 1", "sha256") for secret in secrets]
        self._by_id = {hashlib.sha256(key).hexdigest()[:16]: key for key in keys}
        self._signing = next(iter(self._by_id))
        self._subjects = hmac.digest(secrets[0].encode(), b"castledger subjects 1", "sha256")
        self._requests = hmac.digest(secrets[0].encode(), b"castledger requests 1", "sha256")
        self._visits = [hmac.digest(secret.encode(), b"castledger visits 1", "sha256") for secret in secrets]

    def sign(self, token: AccessToken, *, now: dt.datetime) -> str:
        """Write a token that is good from *now* on, for :data:`LIFETIME`."""
        issued = int(now.timestamp())
        claims: dict[str, Any] = {
            "iss": _ISSUER,
            "aud": _AUDIENCE,
            "sub": str(token.user_id),
            "sid": str(token.session_id),
            "iat": issued,
            "exp": issued + int(LIFETIME.total_seconds()),
            "jti": str(new_id()),
            "amr": ["pwd"],
        }
        if token.tenant_id is not None:
            claims["tid"] = str(token.tenant_id)
        return jwt.encode(claims, self._by_id[self._signing], algorithm=_ALGORITHM, headers={"kid": self._signing})

    def read(self, text: str, *, now: dt.datetime) -> AccessToken:
        """Read a token.

        Raises:
            BadToken: It is none of ours, was changed, is for somebody else or not from us, or its time is over.
        """
        if len(text) > _MAX_CHARACTERS:
            raise BadToken("too long")
        try:
            key = self._by_id.get(str(jwt.get_unverified_header(text).get("kid")))
            if key is None:
                raise BadToken("signed with a key that is not ours")
            claims = jwt.decode(
                text,
                key,
                algorithms=[_ALGORITHM],
                audience=_AUDIENCE,
                issuer=_ISSUER,
                # Times are held up to our own clock, below.
                options={"require": list(_REQUIRED), "verify_exp": False, "verify_iat": False, "verify_nbf": False},
            )
        except jwt.PyJWTError as error:
            raise BadToken(f"{type(error).__name__}") from error
        except (ValueError, RecursionError) as error:
            raise BadToken("malformed") from error
        return _check(claims, now=now)

    def sign_visit(self, share_id: UUID, *, now: dt.datetime) -> str:
        """Write down that somebody has opened a link, for :data:`LIFETIME` and for this link alone."""
        expires = int((now + LIFETIME).timestamp())
        return f"{expires}.{_visit(self._visits[0], share_id, expires)}"

    def is_visit(self, text: str, share_id: UUID, *, now: dt.datetime) -> bool:
        """Tell whether :meth:`sign_visit` has written a text for a link, and its time is not over."""
        found = _VISIT.fullmatch(text)
        if found is None:
            return False
        expires, signature = int(found[1]), found[2]
        # Each of them, and in constant time: nobody learns how much of a guess is right.
        is_ours = [hmac.compare_digest(signature, _visit(key, share_id, expires)) for key in self._visits]
        return any(is_ours) and now.timestamp() < expires

    def subject_key(self, *parts: bytes) -> UUID:
        """Hash what failures are counted by, so that neither accounts nor addresses are stored with them."""
        digest = hmac.new(self._subjects, digestmod="sha256")
        for part in parts:
            digest.update(len(part).to_bytes(4) + part)
        return UUID(bytes=digest.digest()[:16])

    def request_digest(self) -> hmac.HMAC:
        """Begin the hash of a request that may hold a password; whoever has the hash alone cannot try any."""
        return hmac.new(self._requests, digestmod="sha256")


def _visit(key: bytes, share_id: UUID, expires: int) -> str:
    return hmac.digest(key, share_id.bytes + expires.to_bytes(8), "sha256").hex()


def _check(claims: dict[str, Any], *, now: dt.datetime) -> AccessToken:
    issued, expires, moment = claims["iat"], claims["exp"], now.timestamp()
    if type(issued) is not int or type(expires) is not int:
        raise BadToken("times that are none")
    if issued > moment + SKEW.total_seconds():
        raise BadToken("not yet issued")
    if not moment - SKEW.total_seconds() < expires <= issued + LIFETIME.total_seconds():
        raise BadToken("expired")
    try:
        tenant = claims.get("tid")
        return AccessToken(UUID(claims["sub"]), UUID(claims["sid"]), None if tenant is None else UUID(tenant))
    except (ValueError, TypeError, AttributeError):
        raise BadToken("ids that are none") from None
