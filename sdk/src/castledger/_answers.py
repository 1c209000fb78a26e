"""How an answer, or its absence, is read: shared by both clients."""

from __future__ import annotations

from typing import Final, TypeVar

import httpx
import msgspec

from castledger._errors import APIConnectionError, APITimeout, UnexpectedAnswer, error_of
from castledger._requests import Call
from castledger._retries import Answer, retry_after_s

__all__ = ("read_answer",)

T = TypeVar("T")

_WHERE: Final = "base_url or CASTLEDGER_API_URL says where the API is"


def _translate(error: httpx.HTTPError, base_url: str) -> APIConnectionError | UnexpectedAnswer:
    reason = str(error) or type(error).__name__
    match error:
        case httpx.ConnectError() | httpx.ConnectTimeout():
            kind = APITimeout if isinstance(error, httpx.ConnectTimeout) else APIConnectionError
            hint = f"Is the API running there? `castledger up` starts one; {_WHERE}."
            return kind(f"{base_url} cannot be reached ({reason}). {hint}")
        case httpx.TimeoutException():
            kind_of = type(error).__name__
            return APITimeout(f"{base_url} did not answer in time ({kind_of}); timeout says how long is waited.")
        case httpx.DecodingError():
            return UnexpectedAnswer(f"{base_url} sent an answer that cannot be unpacked ({reason}).")
        case _:
            return APIConnectionError(f"{base_url} did not answer ({reason}).")


def _target_of(response: httpx.Response) -> str:
    """Name a redirect's target without its path and query, which may carry what nobody else should read."""
    if response.next_request is None:
        return ""
    url = response.next_request.url
    return f" to {url.scheme}://{url.netloc.decode('ascii')}"


def _redirected(call: Call[T], response: httpx.Response, base_url: str) -> UnexpectedAnswer:
    return UnexpectedAnswer(
        f"{base_url}{call.path} is redirected{_target_of(response)} ({response.status_code}). The API never does that, "
        f"and the client does not follow: base_url points to something else; {_WHERE}.",
        status=response.status_code,
        request_id=response.headers.get("x-request-id"),
    )


def read_answer(call: Call[T], answer: Answer, *, base_url: str) -> T:
    """Read what became of a call.

    Args:
        call: What was asked.
        answer: The last try's.
        base_url: For the words of an error.

    Raises:
        APIError: The API refused.
        APIConnectionError: No answer came.
        UnexpectedAnswer: It is none of the API's answers.
    """
    if isinstance(answer, httpx.HTTPError):
        raise _translate(answer, base_url) from answer
    request_id = answer.headers.get("x-request-id")
    if answer.is_redirect:
        raise _redirected(call, answer, base_url)
    if not answer.is_success:
        raise error_of(
            answer.status_code,
            answer.content,
            base_url=base_url,
            request_id=request_id,
            retry_after=retry_after_s(answer),
        )
    # An answer without a body, as 204 is, is read as null.
    try:
        return msgspec.json.decode(answer.content or b"null", type=call.kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UnexpectedAnswer(
            f"{base_url}{call.path} answered with something else than Castledger does ({error}): base_url points to "
            "something else, or its version and this SDK's are too far apart.",
            status=answer.status_code,
            request_id=request_id,
        ) from error
