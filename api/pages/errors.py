"""What is refused or goes wrong on the page, in HTML."""

from __future__ import annotations

from typing import Any, Final

from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.response import Redirect

from analytics_core.errors import Unavailable
from api.errors import TooSoon, answer_problem, problem_of
from api.logs import RequestLog
from api.pages.limits import TooManySignIns
from api.pages.sessions import SignInNeeded, sign_in_path
from api.pages.views import is_fragment, show, show_plain
from api.requests import request_id_of

__all__ = ("answer_error",)

_WORDS: Final = {
    403: ("Not allowed", "That was refused"),
    404: ("Nothing here", "There is no such page, or it is not yours to see."),
    405: ("Not that way", "This page is there to be read."),
    410: ("No longer here", "That was kept for a while, and its time is over"),
    413: ("Too large", "That is larger than we take."),
    422: ("Not like that", "Something in it cannot be used"),
    429: ("Slow down", "More was asked for than we answer at once"),
    500: ("Our fault", "Something went wrong on our side. It is in the log under the number below."),
    503: ("Back in a moment", "The database does not answer. Hits are still recorded; figures return with it."),
}


def answer_error(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Answer an error: as a problem under ``/api/``, else as a page; who is not signed in is sent to do so."""
    if request.url.path.startswith("/api/"):
        return answer_problem(request, error)
    if isinstance(error, SignInNeeded) and not is_fragment(request):
        return Redirect(sign_in_path(request), status_code=303)
    if isinstance(error, TooManySignIns):
        status, detail, retry_after_s = 429, str(error), error.retry_after_s
    elif isinstance(error, SignInNeeded):
        status, detail, retry_after_s = 401, "", 0
    else:
        problem = problem_of(error, request_id=request_id_of(request.scope))
        status, detail = problem.status, problem.detail
        retry_after_s = error.retry_after_s if isinstance(error, Unavailable | TooSoon) else 0
    if status >= 500:
        log: RequestLog = request.app.state.log
        log.error(error, request_id=request_id_of(request.scope))
    headers = {"Retry-After": str(retry_after_s)} if retry_after_s else {}
    if isinstance(error, HTTPException) and error.headers:
        headers.update(error.headers)
    title, text = _WORDS.get(status, ("That did not work", "The request cannot be answered"))
    if not text.endswith("."):
        text = f"{text}: {detail}." if detail else f"{text}."
    told = {"title": title, "text": text, "status": status, "request_id": request_id_of(request.scope)}
    if status == 403 and "auth" in request.scope:
        # Who may not see a page can still go elsewhere, or sign out.
        return show(request, "error.html", status_code=status, podcast=None, tab="", **told)
    return show_plain("error.html", status_code=status, headers=headers, **told)
