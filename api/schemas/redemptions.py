"""What becomes of a shop's list of redemptions."""

from __future__ import annotations

import msgspec

__all__ = ("TakenRedemptions",)


class TakenRedemptions(msgspec.Struct, frozen=True, kw_only=True):
    """A list of redemptions that was taken as a whole, or could be.

    `created` of its `rows` are new conversions, `repeated` were there already. With `is_dry_run` it only would be so.
    `warnings` name what was not read.
    """

    rows: int
    created: int
    repeated: int
    is_dry_run: bool
    warnings: list[str]
