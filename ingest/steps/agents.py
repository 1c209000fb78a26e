"""Agents and terms: who asked, through which page, from which app's feed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from analytics_core.db.pool import Connection
from analytics_core.referrers import referrer_host
from ingest.batches import Batch
from ingest.dictionaries import Agent, AgentNumbers, TermNumbers
from ingest.steps.targets import TargetColumns

__all__ = ("AgentColumns", "TermColumns", "number_agents", "number_terms")


_NOBODY: Final = Agent(0, 0)


@dataclass(frozen=True, slots=True)
class AgentColumns:
    """Each hit's agent: its number, its ``AgentKind``, and whether there was none."""

    agent_no: npt.NDArray[np.int64]
    kind: npt.NDArray[np.int64]
    is_empty: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class TermColumns:
    """Each hit's referring host and feed app by number; 0 where there is none."""

    referrer_no: npt.NDArray[np.int64]
    feed_app_no: npt.NDArray[np.int64]


async def number_agents(conn: Connection, batch: Batch, numbers: AgentNumbers) -> AgentColumns:
    """Number the agents and say what they are."""
    is_empty = batch.agent.codes == 0
    # The empty text stands in every batch, also where each hit has an agent.
    unused = 0 if is_empty.any() else 1
    agents = await numbers.number(conn, batch.agent.values[unused:])
    table = np.array([*([_NOBODY] * unused), *agents], np.int64).reshape(-1, 2)[batch.agent.codes]
    return AgentColumns(agent_no=table[:, 0], kind=table[:, 1], is_empty=is_empty)


async def number_terms(
    conn: Connection, batch: Batch, targets: TargetColumns, referrers: TermNumbers, feed_apps: TermNumbers
) -> TermColumns:
    """Number the hosts that referred and the apps that feeds were made for."""
    hosts = [referrer_host(value.decode("utf-8", "replace")) for value in batch.referrer.values]
    host_numbers = await referrers.number(conn, hosts)
    app_numbers = await feed_apps.number(conn, targets.feed_apps)
    return TermColumns(
        referrer_no=np.array([host_numbers[host] for host in hosts], np.int64)[batch.referrer.codes],
        feed_app_no=np.array([app_numbers[app] for app in targets.feed_apps], np.int64)[targets.codes],
    )
