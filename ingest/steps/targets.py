"""Resolve: which episode each hit asked for."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from analytics_core.db.pool import Connection
from ingest.batches import Batch, Codes, distinct
from ingest.catalogue import Catalogue, Resolution

__all__ = ("NEVER_US", "TargetColumns", "resolve_targets")

NEVER_US: Final = np.iinfo(np.int64).min
"""The publication of an episode without a date: no hit is earlier."""


@dataclass(frozen=True, slots=True)
class TargetColumns:
    """The targets of a batch.

    ``codes`` says for each hit which of the distinct ones is its own; every other column has one value a distinct
    target. Lengths and durations are -1 where unknown; all numbers are 0 where there is none, though an unknown
    episode may have a known podcast. ``ownership`` is the generation of ownership under which all of it holds.
    """

    codes: Codes
    resolutions: list[Resolution]
    ownership: int
    tenant_no: npt.NDArray[np.int64]
    podcast_no: npt.NDArray[np.int64]
    episode_no: npt.NDArray[np.int64]
    length_bytes: npt.NDArray[np.int64]
    duration_s: npt.NDArray[np.int64]
    published_us: npt.NDArray[np.int64]
    live: npt.NDArray[np.bool_]
    playlist: npt.NDArray[np.bool_]


def _row(resolution: Resolution) -> tuple[int, int, int, int, int, int, int, int]:
    episode = resolution.episode
    if episode is None:
        podcast_no = resolution.target.podcast_no if resolution.target is not None else 0
        return resolution.tenant_no, podcast_no, 0, -1, -1, NEVER_US, 0, 0
    return (
        episode.tenant_no,
        episode.podcast_no,
        episode.episode_no,
        -1 if episode.length_bytes is None else episode.length_bytes,
        -1 if episode.duration_s is None else episode.duration_s,
        NEVER_US if episode.published_at_us is None else episode.published_at_us,
        int(episode.live),
        int(episode.is_playlist),
    )


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
    resolutions, ownership = await catalogue.resolve(conn, pairs)
    table = np.fromiter(itertools.chain.from_iterable(map(_row, resolutions)), np.int64).reshape(-1, 8)
    return TargetColumns(
        codes=codes,
        resolutions=resolutions,
        ownership=ownership,
        tenant_no=table[:, 0],
        podcast_no=table[:, 1],
        episode_no=table[:, 2],
        length_bytes=table[:, 3],
        duration_s=table[:, 4],
        published_us=table[:, 5],
        live=table[:, 6].astype(np.bool_),
        playlist=table[:, 7].astype(np.bool_),
    )
