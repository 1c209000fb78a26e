"""Claims: how a feed is proven to be somebody's, and so a podcast is verified or becomes theirs."""

from __future__ import annotations

import asyncio
import hashlib
import math
from typing import Any, Final
from uuid import UUID

from litestar import Request, get, post

from analytics_core.claims import CHECK_EVERY, ClaimStatus, Proof, find_proof
from analytics_core.db.claims import ClaimRow, StartedCheck, begin_check, find_own, note_check, start_claim
from analytics_core.db.claims import get_claim as read_claim
from analytics_core.db.claims import list_claims as read_claims
from analytics_core.errors import Conflict, InvalidInput, NotFound
from analytics_core.permissions import Permission
from analytics_core.roles import Role
from api.auth import caller_of
from api.callers import Caller
from api.errors import TooSoon
from api.feed_intake import fetch_bytes
from api.idempotency import replay_answer
from api.limits import HEAVY_COST
from api.pagination import LIMIT, id_cursor, page_of
from api.queries import Query
from api.resources import Resources, resources_of
from api.schemas.claims import Claim
from api.schemas.common import Page
from api.scopes import find_podcast, path_id
from api.writing import writing

__all__ = ("check_claim", "claim_podcast", "get_one_claim", "list_podcast_claims")

_CLAIMS: Final = "claims"
_CURSOR: Final = id_cursor(_CLAIMS)


@get("/podcasts/claims", tags=["claims"], opt={"permission": Permission.PODCASTS_READ, "query": (LIMIT, _CURSOR)})
async def list_podcast_claims(request: Request[Any, Any, Any]) -> Page[Claim]:
    """List your claims in the order in which they were started; ended ones too."""
    query = Query.of(request)
    limit, after = query.get(LIMIT), query.get(_CURSOR)
    query.finish()
    resources = resources_of(request)
    async with resources.database.reading(caller_of(request).tenant) as conn:
        rows = await read_claims(conn, after=after, limit=limit + 1)
    return page_of(
        rows,
        limit,
        lambda row: Claim.of(row, now=resources.clock.now()),
        _CLAIMS,
        lambda row: (row.created_at, row.claim_id),
    )


async def _find_claim(resources: Resources, caller: Caller, claim_id: UUID) -> ClaimRow:
    async with resources.database.reading(caller.tenant) as conn:
        row = await read_claim(conn, claim_id)
    if row is None:
        raise NotFound("claim")
    return row


@get("/podcasts/claims/{claim_id:str}", tags=["claims"], opt={"permission": Permission.PODCASTS_READ})
async def get_one_claim(request: Request[Any, Any, Any]) -> Claim:
    """Read one claim."""
    resources = resources_of(request)
    row = await _find_claim(resources, caller_of(request), path_id(request, "claim_id", what="claim"))
    return Claim.of(row, now=resources.clock.now())


@post(
    "/podcasts/{podcast_id:str}/claims",
    tags=["claims"],
    opt={"permission": Permission.PODCASTS_WRITE, "refusals": (409,)},
)
async def claim_podcast(request: Request[Any, Any, Any]) -> Claim:
    """Start to verify a podcast of your own, or return the claim that was started.

    Browsers are only sent on to the enclosures of verified podcasts. What the installation's own tenant adds is
    verified from the start. Another tenant's podcast is claimed by adding its feed: see `podcast_taken`.
    """
    caller, resources = caller_of(request), resources_of(request)
    wanted = path_id(request, "podcast_id", what="podcast")
    async with resources.database.reading(caller.tenant) as conn:
        podcast = await find_podcast(conn, wanted)
    if podcast.verified_at is not None:
        raise Conflict("already_verified", "this podcast is verified: there is nothing to prove")
    async with writing(request, "claim.start", role=Role.AUTH) as work:
        own = await find_own(work.conn, caller.tenant, wanted)
        if own is None:
            raise Conflict(
                "podcast_moved", "this podcast's feed belongs to somebody else now; add the feed to claim it"
            )
        if own.feed_url is None:
            raise Conflict("no_feed_url", "this podcast was added without a feed's address: there is nowhere to look")
        now = resources.clock.now()
        row = await start_claim(work.conn, caller.tenant, own, title=podcast.title, feed_url=own.feed_url, now=now)
        return work.done(Claim.of(row, now=now), resource=row.claim_id, after={"podcast_id": wanted})


async def _look(resources: Resources, check: StartedCheck) -> tuple[str | None, Proof | None, bytes | None]:
    """Fetch the feed from where it is registered and look for the token: fault, proof, and the feed's digest."""
    from analytics_core.feeds import parse_feed

    if check.feed_url is None:
        return "feed_url_invalid", None, None
    try:
        data, _, _ = await fetch_bytes(check.feed_url, resources)
        feed = await asyncio.to_thread(parse_feed, data, feed_url=check.feed_url)
    except InvalidInput as error:
        return error.code, None, None
    proof = find_proof(feed, check.token)
    return ("token_not_found", None, None) if proof is None else (None, proof, hashlib.sha256(data).digest())


def _refuse_check(row: ClaimRow, resources: Resources) -> Exception:
    """Say why a claim cannot be checked now."""
    now = resources.clock.now()
    status = row.status(now)
    if status is not ClaimStatus.OPEN or row.checked_at is None:
        return Conflict("claim_ended", f"this claim is {status.value}: add the feed again to start another")
    wait_s = max(1, math.ceil((row.checked_at + CHECK_EVERY - now).total_seconds()))
    return TooSoon(f"a feed is fetched for a claim once a minute; try again in {wait_s} s", retry_after_s=wait_s)


@post(
    "/podcasts/claims/{claim_id:str}/check",
    tags=["claims"],
    status_code=200,
    opt={"permission": Permission.PODCASTS_WRITE, "cost": HEAVY_COST, "refusals": (409,)},
)
async def check_claim(request: Request[Any, Any, Any]) -> Claim:
    """Look for the claim's token in the feed, now.

    The feed is fetched from the address at which it is registered, once a minute at most. A claim that holds becomes
    `proven`, and a moment later `moved` or `verified`; one that does not says why in `check_fault`. Nobody needs to
    ask: each poll of the feed looks for the token as well.
    """
    caller, resources = caller_of(request), resources_of(request)
    claim_id = path_id(request, "claim_id", what="claim")
    await replay_answer(request)
    row = await _find_claim(resources, caller, claim_id)
    if row.status(resources.clock.now()) in (ClaimStatus.PROVEN, ClaimStatus.MOVED, ClaimStatus.VERIFIED):
        return Claim.of(row, now=resources.clock.now())
    async with resources.feed_slots:
        async with resources.database.auth() as conn:
            check = await begin_check(conn, caller.tenant, claim_id, now=resources.clock.now())
        if check is None:
            raise _refuse_check(await _find_claim(resources, caller, claim_id), resources)
        # No connection is held while a stranger's server takes its time.
        fault, proof, digest = await _look(resources, check)
    async with writing(request, "claim.check", role=Role.AUTH) as work:
        now = resources.clock.now()
        await note_check(work.conn, caller.tenant, claim_id, now=now, fault=fault, proof=proof, digest=digest)
        checked = await read_claim(work.conn, claim_id)
        if checked is None:
            raise NotFound("claim")
        after = {"check_fault": checked.check_fault, "proof": checked.proof}
        return work.done(Claim.of(checked, now=now), resource=claim_id, after=after)
