"""Forms: sent by our own page and nobody else's, read within bounds."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from typing import Any, Final

from litestar import Request
from litestar.datastructures import UploadFile
from litestar.exceptions import ClientException, HTTPException

from analytics_core.errors import Forbidden
from api.errors import Refused
from api.origins import is_from_here

__all__ = ("FIELD", "form_token", "read_form")

FIELD: Final = "form_token"
_BYTES: Final = 16
_TYPES: Final = ("application/x-www-form-urlencoded", "multipart/form-data")


def _digest(secret: str) -> bytes:
    return hashlib.blake2b(b"castledger form", key=secret.encode()[:64], digest_size=_BYTES).digest()


def form_token(secret: str) -> str:
    """Make a form's token from what only this browser holds.

    It looks different each time, so that nothing can be told from how well a page compresses.

    Args:
        secret: The session's token, or that of the sign-in form's cookie.
    """
    pad = secrets.token_bytes(_BYTES)
    masked = bytes(a ^ b for a, b in zip(pad, _digest(secret), strict=True))
    return base64.urlsafe_b64encode(pad + masked).decode().rstrip("=")


def _is_token(secret: str, token: str) -> bool:
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return False
    if not secret or len(data) != 2 * _BYTES:
        return False
    return hmac.compare_digest(bytes(a ^ b for a, b in zip(data[:_BYTES], data[_BYTES:], strict=True)), _digest(secret))


async def read_form(request: Request[Any, Any, Any], secret: str) -> dict[str, str | UploadFile]:
    """Read a form's fields, the first of each name.

    Args:
        request: With a body.
        secret: What its token was made from.

    Raises:
        Forbidden: Another site sent it, or its token is not this browser's.
        Refused: The body is no form (415, 400) or too large (413).
    """
    if not is_from_here(request.headers):
        raise Forbidden("this form was sent by another site")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in _TYPES:
        raise Refused(415, "unsupported_media_type", "this is no form")
    try:
        form = await request.form()
    except ClientException as error:
        if error.status_code == 413:
            raise
        raise Refused(400, "malformed_form", "the form cannot be read") from error
    except HTTPException:
        raise
    except (ValueError, TypeError, UnicodeError) as error:
        raise Refused(400, "malformed_form", "the form cannot be read") from error
    fields: dict[str, str | UploadFile] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            # The request may be begun once more, with the same form.
            await value.seek(0)
        if isinstance(value, str | UploadFile):
            fields.setdefault(name, value)
    token = fields.get(FIELD)
    if not isinstance(token, str) or not _is_token(secret, token):
        raise Forbidden("this form has expired or your browser sends no cookies: go back, load the page again, retry")
    return fields
