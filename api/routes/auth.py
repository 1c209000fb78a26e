"""Coming in: registering, signing in and out, and passwords that were forgotten."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from litestar import Request, post

from analytics_core.db.auth_tokens import Purpose, forget_tokens, make_token
from analytics_core.db.memberships import list_memberships, list_own_tenants
from analytics_core.db.outbox import queue_mail
from analytics_core.db.pool import Connection
from analytics_core.db.user_sessions import (
    PersonSession,
    end_session,
    open_api_session,
    rotate_refresh_token,
)
from analytics_core.db.users import change_user, create_user, find_credentials, set_password
from analytics_core.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated
from analytics_core.mail import Mail
from analytics_core.passwords import check_password
from analytics_core.people import parse_email, parse_locale, parse_name
from analytics_core.people_mail import (
    mail_registered_already,
    mail_verification,
)
from analytics_core.settings import Registration
from analytics_core.tokens import LIFETIME, AccessToken
from api.accounts import confirm_email, mail_new_reset, reset_with_token
from api.auth import person_of
from api.bodies import read_json
from api.errors import Fault, InvalidRequest
from api.limits import REPORT_COST
from api.resources import Resources, resources_of
from api.schemas.people import (
    Accepted,
    Forgot,
    Membership,
    Refresh,
    Register,
    Reset,
    SignedIn,
    SignIn,
    Tokens,
    Verify,
)
from api.sign_in import attempt_subject, check_credentials, claim_attempt
from api.writing import writing_own

__all__ = ("forgot_password", "refresh", "register", "reset_password", "sign_in", "sign_out", "verify")

_TAGS: Final = ["sign-in"]


def _opt(body: type[Any], *refusals: int) -> dict[str, Any]:
    return {"is_open": True, "cost": REPORT_COST, "bodies": {"application/json": body}, "refusals": refusals}


def _accepted() -> Accepted:
    return Accepted("if this can be done for this address, a mail is on its way")


class _BadRefreshToken(Unauthenticated):
    code = "bad_refresh_token"


def _access(resources: Resources, session: PersonSession) -> str:
    token = AccessToken(session.user_id, session.session_id, session.tenant_id)
    return resources.tokens.sign(token, now=resources.clock.now())


async def _register(conn: Connection, wanted: Register, password_hash: str, resources: Resources) -> Mail | None:
    """Add somebody, or find them there already; either way they are told by mail, and nobody else is told which.

    It stands in no record: nobody belongs to a tenant yet, and who does has done nothing.
    """
    now, public_url = resources.clock.now(), resources.settings.people.public_url
    try:
        user_id: UUID = (
            await create_user(
                conn,
                email=wanted.email,
                name=wanted.name,
                locale=wanted.locale,
                password_hash=password_hash,
                now=now,
            )
        ).user_id
    except Conflict:
        found = await find_credentials(conn, wanted.email)
        if found is None or found.status != "active":
            return None
        if found.email_verified_at is not None:
            return mail_registered_already(found.email, public_url=public_url)
        # Whoever registered before has proven nothing: the password is that of the one whose mail is followed.
        user_id = found.user_id
        await forget_tokens(conn, user_id, Purpose.VERIFY, now=now)
        await change_user(conn, user_id, name=wanted.name, locale=wanted.locale)
        await set_password(conn, user_id, password_hash, now=now)
    token = await make_token(conn, user_id, Purpose.VERIFY, now=now)
    return None if token is None else mail_verification(wanted.email, token, public_url=public_url)


def _read_registration(wanted: Register) -> Register:
    faults: list[Fault] = []
    read: dict[str, str] = {}
    for name, parse in (("email", parse_email), ("name", parse_name), ("locale", parse_locale)):
        try:
            read[name] = parse(getattr(wanted, name))
        except InvalidInput as error:
            faults.append(Fault(error.path, error.code, error.reason))
    try:
        check_password(wanted.password, context=(wanted.email, wanted.name))
    except InvalidInput as error:
        faults.append(Fault(error.path, error.code, error.reason))
    if faults:
        raise InvalidRequest(faults)
    return Register(password=wanted.password, **read)


@post("/auth/register", tags=_TAGS, status_code=202, opt=_opt(Register, 403))
async def register(request: Request[Any, Any, Any]) -> Accepted:
    """Register.

    A mail is sent with which the address is confirmed; signing in works from then on. The answer is the same for an
    address that is registered already: that person is told by mail. Open only where the installation says so.
    """
    resources = resources_of(request)
    if resources.settings.people.registration is not Registration.OPEN:
        raise Forbidden(
            "people come here by invitation: ask whoever runs this installation", code="registration_closed"
        )
    wanted = _read_registration(await read_json(request, Register))
    await claim_attempt(request, attempt_subject(request, "register", ""))
    password_hash = await resources.passwords.hash(wanted.password)
    async with writing_own(request, "user.register") as work:
        mail = await _register(work.conn, wanted, password_hash, resources)
        if mail is not None:
            await queue_mail(work.conn, mail, now=resources.clock.now())
    return _accepted()


@post("/auth/verify", tags=_TAGS, status_code=204, opt=_opt(Verify))
async def verify(request: Request[Any, Any, Any]) -> None:
    """Confirm a mail address with the token that was sent to it, within 24 hours."""
    await confirm_email(request, (await read_json(request, Verify)).token)


@post("/auth/login", tags=_TAGS, status_code=200, opt=_opt(SignIn, 401, 403, 404))
async def sign_in(request: Request[Any, Any, Any]) -> SignedIn:
    """Sign in with mail address and password.

    The access token is for one tenant: the one that is named, else the one that was joined first. After five wrong
    passwords for an account from a network each further attempt has to wait, longer each time.
    """
    resources = resources_of(request)
    wanted = await read_json(request, SignIn)
    found = await check_credentials(request, email=wanted.email, password=wanted.password)
    async with writing_own(request, "session.open") as work:
        memberships = await list_memberships(work.conn, found.user_id)
        chosen = [row for row in memberships if wanted.tenant in (None, row.slug)]
        if wanted.tenant is not None and not chosen:
            raise NotFound("tenant")
        session, token = await open_api_session(
            work.conn,
            found.user_id,
            chosen[0].tenant_id if chosen else None,
            user_agent=request.headers.get("user-agent", ""),
            now=resources.clock.now(),
        )
        work.done(found.user_id, tenants=[row.tenant for row in chosen[:1]], resource=session.session_id)
    return SignedIn(
        access_token=_access(resources, session),
        expires_in=int(LIFETIME.total_seconds()),
        refresh_token=token,
        tenant=Membership.of(chosen[0]) if chosen else None,
        tenants=[Membership.of(row) for row in memberships],
    )


@post(
    "/auth/refresh",
    tags=_TAGS,
    status_code=200,
    # Who signed in is on record; that they are still there would be said four times an hour.
    opt={**_opt(Refresh, 401), "changes_nothing": "it exchanges tokens of a session that is on record"},
)
async def refresh(request: Request[Any, Any, Any]) -> Tokens:
    """Exchange a refresh token for the next access and refresh tokens.

    It is good once, for 7 days, and its session for 30. One that is shown a second time, be it at the same moment, ends
    its session: one of the two who showed it has stolen it. A client refreshes one at a time.
    """
    resources = resources_of(request)
    wanted = await read_json(request, Refresh)
    async with resources.database.auth() as conn, conn.transaction():
        rotated = await rotate_refresh_token(conn, wanted.refresh_token, now=resources.clock.now())
    if rotated is None:
        raise _BadRefreshToken("this refresh token is not valid: it is unknown, used, or its session has ended")
    session, token = rotated
    return Tokens(
        access_token=_access(resources, session), expires_in=int(LIFETIME.total_seconds()), refresh_token=token
    )


@post("/auth/logout", tags=_TAGS, status_code=204, opt={"permission": None, "refusals": (403,)})
async def sign_out(request: Request[Any, Any, Any]) -> None:
    """End the session that the access token is of, at once."""
    person = person_of(request)
    async with writing_own(request, "session.close", person=person) as work:
        await end_session(work.conn, person.user_id, person.session_id)
        tenants = await list_own_tenants(work.conn, person.user_id)
        here = [tenant for tenant in tenants if tenant.tenant_id == person.tenant_id]
        work.done(person.user_id, tenants=here, resource=person.session_id)


@post("/auth/password/forgot", tags=_TAGS, status_code=202, opt=_opt(Forgot))
async def forgot_password(request: Request[Any, Any, Any]) -> Accepted:
    """Have a mail sent with which a new password can be set, within an hour.

    The answer is the same whether there is such an account or not, and whether too many were asked for or not. It
    stands in no record, as anybody may ask.
    """
    await mail_new_reset(request, (await read_json(request, Forgot)).email)
    return _accepted()


@post("/auth/password/reset", tags=_TAGS, status_code=204, opt=_opt(Reset))
async def reset_password(request: Request[Any, Any, Any]) -> None:
    """Set a new password with the token that was mailed; all sessions end, and the mail address counts as confirmed."""
    wanted = await read_json(request, Reset)
    await reset_with_token(request, wanted.token, wanted.password)
