"""Resolve: which episode each hit asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analytics_core.db.pending import PendingTarget
from analytics_core.db.pool import Connection
from analytics_core.referrers import feed_app
from ingest.batches import Batch, Codes, distinct
from ingest.catalogue import Catalogue

__all__ = ("TargetColumns", "resolve_targets")


@dataclass(frozen=True, slots=True)
class TargetColumns:
    """The targets of a batch.

    ``codes`` says for each hit which of the distinct ones is its own; every other column has one value a distinct
    target. Lengths and durations are -1 where unknown; all numbers are 0 where there is none, though an unknown
    episode may have a known podcast. ``feed_apps`` names the app whose feed the listener uses, as hosts stamp it into
    the address, or nothing; ``waiting`` has the keys of those targets that belong to no episode of ours. ``ownership``
    is the generation of ownership under which all of it holds.
    """

    codes: Codes
    feed_apps: list[str]
    waiting: dict[int, PendingTarget]
    ownership: int
    tenant_no: npt.NDArray[np.int64]
    podcast_no: npt.NDArray[np.int64]
    episode_no: npt.NDArray[np.int64]
    length_bytes: npt.NDArray[np.int64]
    duration_s: npt.NDArray[np.int64]
    published_us: npt.NDArray[np.int64]
    live: npt.NDArray[np.bool_]
    playlist: npt.NDArray[np.bool_]


async def resolve_targets(conn: Connection, batch: Batch, catalogue: Catalogue) -> TargetColumns:
    """Find the episode of each distinct pair of target and prefix arguments."""
    places, codes = distinct(batch.arguments.codes, batch.target.codes)
    targets, arguments = batch.target.values, batch.arguments.values
    pairs = [
        (targets[target], arguments[argument])
        for target, argument in zip(
            batch.target.codes[places].tolist(), batch.arguments.codes[places].tolist(), strict=True
        )
    ]
    rows, waiting, ownership = await catalogue.resolve(conn, pairs)
    return TargetColumns(
        codes=codes,
        # Most have none, and few are worth to be made into text.
        feed_apps=[
            feed_app(target.decode("utf-8", "replace")) if b"_from=" in target.lower() else "" for target, _ in pairs
        ],
        waiting=waiting,
        ownership=ownership,
        tenant_no=rows["tenant_no"].astype(np.int64),
        podcast_no=rows["podcast_no"].astype(np.int64),
        episode_no=rows["episode_no"].astype(np.int64),
        length_bytes=rows["length_bytes"],
        duration_s=rows["duration_s"].astype(np.int64),
        published_us=rows["published_us"],
        live=rows["live"],
        playlist=rows["playlist"],
    )
