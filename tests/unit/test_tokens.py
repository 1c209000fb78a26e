"""Access tokens: what is not ours, not for us, not now, or not as it was, is refused."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any
from uuid import UUID

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.errors import ConfigError
from analytics_core.secret_strength import is_weak_secret
from analytics_core.settings import load_settings
from analytics_core.token_secrets import FILE_NAME, load_token_keys
from analytics_core.tokens import LIFETIME, SKEW, AccessToken, BadToken, TokenKeys

NOW = dt.datetime(2026, 11, 24, 12, 0, tzinfo=dt.UTC)
SECRET = "3d6b8e0f51a74c29b0d2e8f6a91c5374"
OTHER = "c05b1d7e9a3f48620fe4b3a8d2716c95"
KEYS = TokenKeys([SECRET])
TOKEN = AccessToken(UUID(int=1), UUID(int=2), UUID(int=3))


def _key(secret: str = SECRET) -> bytes:
    return hmac.digest(secret.encode(), b"castledger access token 1", "sha256")


def _parts(text: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    header, payload, signature = text.split(".")
    first, second = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in (header, payload))
    return first, second, signature


def _encode(document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


def forge(header: dict[str, Any] | None = None, *, key: bytes | None = None, **claims: Any) -> str:
    """Sign what a thief of our key could, with other claims; ``None`` takes one away."""
    found, payload, _ = _parts(KEYS.sign(TOKEN, now=NOW))
    payload = {name: value for name, value in {**payload, **claims}.items() if value is not None}
    head = f"{_encode({**found, **(header or {})})}.{_encode(payload)}"
    signature = hmac.digest(_key() if key is None else key, head.encode(), "sha256")
    return f"{head}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


@given(st.uuids(), st.uuids(), st.none() | st.uuids(), st.integers(0, 2**31))
def test_what_was_signed_is_read(user: UUID, session: UUID, tenant: UUID | None, seconds: int) -> None:
    now = dt.datetime.fromtimestamp(seconds, dt.UTC)
    token = AccessToken(user, session, tenant)
    assert KEYS.read(KEYS.sign(token, now=now), now=now) == token


def test_a_forgery_that_changes_nothing_is_taken() -> None:
    assert KEYS.read(forge(), now=NOW) == TOKEN


def test_a_token_says_what_it_has_to_and_nothing_about_anybody() -> None:
    header, payload, _ = _parts(KEYS.sign(TOKEN, now=NOW))
    assert header == {"alg": "HS256", "typ": "JWT", "kid": hashlib.sha256(_key()).hexdigest()[:16]}
    assert set(payload) == {"iss", "aud", "sub", "tid", "sid", "iat", "exp", "jti", "amr"}
    assert payload["exp"] - payload["iat"] == 15 * 60


_RSA = {"alg": "RS256"}


@pytest.mark.parametrize(
    "text",
    [
        # No algorithm, with and without the signature, in any case.
        ".".join([*forge({"alg": "none"}).split(".")[:2], ""]),
        forge({"alg": "none"}),
        forge({"alg": "None"}),
        forge({"alg": ""}),
        # Another algorithm, with our own secret as what would be its public key.
        forge(_RSA),
        forge({"alg": "ES256"}),
        forge({"alg": "HS384"}),
        forge({"alg": "HS512"}),
        # Keys that are not ours, named or not.
        forge(key=_key(OTHER)),
        forge(key=SECRET.encode()),
        forge(key=b""),
        forge({"kid": "none"}),
        forge({"kid": "../../dev/null"}, key=b""),
        forge({"kid": None}),
        forge({"kid": ["a"]}),
        forge({"jwk": {"kty": "oct", "k": "AAAA"}, "kid": "x"}, key=b"\0\0\0"),
        forge({"crit": ["exp"]}),
        # For somebody else, or from somebody else.
        forge(aud="castledger-sdk"),
        forge(aud=[]),
        forge(aud=None),
        forge(iss="https://evil.example"),
        forge(iss=None),
        # Without what has to be there, or with something else.
        *(forge(**{name: None}) for name in ("sub", "sid", "exp", "iat", "jti", "amr")),
        forge(sub="root"),
        forge(sub=1),
        forge(sid=[]),
        forge(tid="home"),
        forge(exp="tomorrow"),
        forge(exp=1e308),
        forge(exp=True),
        # Good for longer than we make any.
        forge(exp=int(NOW.timestamp()) + 16 * 60),
        forge(exp=int(NOW.timestamp()) + 10**9),
        "",
        "a.b.c",
        "..",
        "é.é.é",
        "x" * 5000,
        f"{'[' * 1000}.a.b",
    ],
)
def test_what_is_not_ours_is_refused(text: str) -> None:
    with pytest.raises(BadToken):
        KEYS.read(text, now=NOW)


@given(st.data())
def test_a_token_of_which_any_letter_was_changed_is_refused(data: st.DataObject) -> None:
    text = KEYS.sign(TOKEN, now=NOW)
    # The last letter holds two bits that nobody reads.
    at = data.draw(st.integers(0, len(text) - 2))
    letter = data.draw(st.sampled_from("ABCDxyz019-_.").filter(lambda letter: letter != text[at]))
    with pytest.raises(BadToken):
        KEYS.read(text[:at] + letter + text[at + 1 :], now=NOW)


def test_a_payload_under_another_ones_signature_is_refused() -> None:
    header, _, signature = KEYS.sign(TOKEN, now=NOW).split(".")
    _, payload, _ = KEYS.sign(AccessToken(UUID(int=9), UUID(int=2), None), now=NOW).split(".")
    with pytest.raises(BadToken):
        KEYS.read(f"{header}.{payload}.{signature}", now=NOW)


def test_a_token_lives_for_its_time_and_no_longer() -> None:
    text = KEYS.sign(TOKEN, now=NOW)
    second = dt.timedelta(seconds=1)
    for at in (NOW - SKEW, NOW, NOW + LIFETIME, NOW + LIFETIME + SKEW - second):
        assert KEYS.read(text, now=at) == TOKEN
    for at in (NOW - SKEW - second, NOW + LIFETIME + SKEW, NOW + dt.timedelta(days=400)):
        with pytest.raises(BadToken, match=r"expired|not yet"):
            KEYS.read(text, now=at)


def test_secrets_are_exchanged_while_tokens_of_the_old_one_live() -> None:
    old, both, new = TokenKeys([SECRET]), TokenKeys([OTHER, SECRET]), TokenKeys([OTHER])
    before, after = old.sign(TOKEN, now=NOW), both.sign(TOKEN, now=NOW)
    assert both.read(before, now=NOW) == both.read(after, now=NOW) == new.read(after, now=NOW) == TOKEN
    for keys, text in ((new, before), (old, after)):
        with pytest.raises(BadToken):
            keys.read(text, now=NOW)


def test_any_library_reads_a_token_with_the_key() -> None:
    claims = jwt.decode(
        KEYS.sign(TOKEN, now=NOW),
        _key(),
        algorithms=["HS256"],
        audience="castledger-api",
        options={"verify_exp": False, "verify_iat": False},
    )
    assert claims["sub"] == str(TOKEN.user_id)


@given(st.lists(st.binary(max_size=8), max_size=3), st.lists(st.binary(max_size=8), max_size=3))
def test_different_subjects_have_different_keys(one: list[bytes], other: list[bytes]) -> None:
    assert (KEYS.subject_key(*one) == KEYS.subject_key(*other)) == (one == other)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "short",
        "x" * 64,
        "abcd" * 16,
        "change-me-to-something-long-and-random-1234",
        "my-super-Secret-9f8e7d6c5b4a39281706f5e4d3c2b1a0",
        "0000000000000000000000000000000000000001",
    ],
)
def test_a_weak_secret_is_refused_and_never_shown(secret: str) -> None:
    assert is_weak_secret(secret)
    if secret:
        with pytest.raises(ConfigError) as caught:
            load_settings({"JWT_SECRET": f"{SECRET},{secret}"})
        assert "JWT_SECRET" in str(caught.value)
        assert secret not in str(caught.value)
        assert SECRET not in str(caught.value)


def test_several_secrets_are_read_in_their_order() -> None:
    settings = load_settings({"JWT_SECRET": f" {SECRET} , {OTHER} "})
    assert [str(secret) for secret in settings.people.jwt_secrets] == [SECRET, OTHER]
    assert SECRET not in repr(settings)


def test_without_a_secret_one_is_made_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    text = load_token_keys([], folder).sign(TOKEN, now=NOW)
    path = folder / FILE_NAME
    assert path.stat().st_mode & 0o777 == 0o600
    assert not is_weak_secret(path.read_text().strip())
    assert load_token_keys([], folder).read(text, now=NOW) == TOKEN
    assert [entry.name for entry in folder.iterdir()] == [FILE_NAME]
    with pytest.raises(BadToken):
        load_token_keys([SECRET], folder).read(text, now=NOW)


def test_a_kept_secret_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("oops\n")
    with pytest.raises(ConfigError, match="no good secret"):
        load_token_keys([], tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="JWT_SECRET"):
        load_token_keys([], tmp_path / "file")
