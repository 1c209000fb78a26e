"""The forms of claims."""

from __future__ import annotations

import datetime as dt
from typing import Final, Literal
from uuid import UUID

import msgspec

from analytics_core.claims import ClaimStatus, Proof
from analytics_core.db.claims import ClaimRow

__all__ = ("Claim", "ClaimFault", "what_to_do")

_FAULTS: Final = {
    "not_finished": "the check has not ended, or was broken off",
    "token_not_found": "the feed was read, but the token stands neither in podcast:txt nor in the channel's text",
    "not_a_feed": "what the feed's address answered is no feed",
}
# Told by its kind only: where the feed is registered may be its owner's secret.
_UNREADABLE: Final = "the feed could not be fetched from the address at which it is registered"


def what_to_do(claim: ClaimRow) -> str:
    """Tell in a sentence how a claim is proven."""
    return (
        f'put <podcast:txt purpose="verify">{claim.token}</podcast:txt> into the channel of the feed, or the token '
        f"anywhere into its description, then POST /api/v1/podcasts/claims/{claim.claim_id}/check, or wait for the "
        f"next poll; the token is good until {claim.expires_at:%Y-%m-%d %H:%M} UTC"
    )


class ClaimFault(msgspec.Struct, frozen=True):
    """Why the last check found no proof."""

    code: str
    message: str


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A claim of a podcast, proven by a token in its feed.

    `feed_url` is where the token is looked for: null when the feed is registered under another address than the one
    that you gave, which is not told. `proven` lasts a moment; it becomes `moved` (the podcast was another tenant's and
    is yours from now on, its past stays where it was) or `verified` (it was yours already). `superseded` means that it
    moved to somebody else first. `podcast_id` is your podcast, once it is.
    """

    claim_id: UUID
    status: Literal["open", "proven", "moved", "verified", "superseded", "expired"]
    title: str
    feed_url: str | None
    token: str
    what_to_do: str | None
    created_at: dt.datetime
    expires_at: dt.datetime
    checks: int
    checked_at: dt.datetime | None
    check_fault: ClaimFault | None
    proof: Proof | None
    proven_at: dt.datetime | None
    closed_at: dt.datetime | None
    podcast_id: UUID | None

    @classmethod
    def of(cls, row: ClaimRow, *, now: dt.datetime) -> Claim:
        """Show a claim as it stands."""
        status = row.status(now)
        fault = row.check_fault
        return cls(
            claim_id=row.claim_id,
            status=status.value,
            title=row.title,
            feed_url=row.feed_url,
            token=row.token,
            what_to_do=what_to_do(row) if status is ClaimStatus.OPEN else None,
            created_at=row.created_at,
            expires_at=row.expires_at,
            checks=row.checks,
            checked_at=row.checked_at,
            check_fault=None if fault is None else ClaimFault(fault, _FAULTS.get(fault, _UNREADABLE)),
            proof=row.proof,
            proven_at=row.proven_at,
            closed_at=row.closed_at,
            podcast_id=row.podcast_id,
        )
