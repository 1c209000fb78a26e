"""Places: country, city, autonomous system and networks of each distinct address of a batch, their last use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from analytics_core.db.pool import Connection
from analytics_core.networks import NetworkClass
from analytics_core.places import Place
from analytics_core.windows import DAY_US
from ingest.batches import Batch, distinct
from ingest.dictionaries import PlaceNumbers
from ingest.place_sources import PlaceSources

__all__ = ("PlaceColumns", "number_places", "place_addresses")


@dataclass(frozen=True, slots=True)
class PlaceColumns:
    """Where each hit's address is.

    Attributes:
        country: Packed, 0 where unknown.
        place: For each hit a place in *names*.
        names: Distinct regions and cities; ``None`` comes first and is none.
        asn: The autonomous system, 0 where unknown.
        networks: Unions of ``NetworkClass``.
    """

    country: npt.NDArray[np.int64]
    place: npt.NDArray[np.intp]
    names: list[Place | None]
    asn: npt.NDArray[np.int64]
    networks: npt.NDArray[np.int64]

    def is_in(self, network: NetworkClass) -> npt.NDArray[np.bool_]:
        """Tell of each hit whether its address is in a list."""
        found: npt.NDArray[np.bool_] = self.networks & int(network) != 0
        return found

    def is_machine(self, network: NetworkClass) -> npt.NDArray[np.bool_]:
        """Tell of each hit whether its address is in a list of machines and no shared one of people.

        As ``NetworkPolicy.verdict_bits`` tells it of one hit under the default profile.
        """
        return self.is_in(network) & ~self.is_in(NetworkClass.SHARED)


def place_addresses(batch: Batch, sources: PlaceSources) -> PlaceColumns:
    """Look each distinct address up once."""
    places, codes = distinct(batch.address[:, 1], batch.address[:, 0])
    rows: npt.NDArray[Any] = np.ascontiguousarray(batch.address[places].astype(">u8")).view(np.uint8).reshape(-1, 16)
    numbers = sources.asns.asns(rows)
    located = sources.countries.locate(rows)
    networks = sources.networks.classes(rows, numbers).astype(np.int64)[codes]
    if len(sources.networks.shared):
        # An address is shared up to a day, and one address may have hits of several.
        until = sources.networks.shared.lookup(rows)[codes]
        networks |= np.where(batch.at_us // DAY_US <= until, int(NetworkClass.SHARED), 0)
    return PlaceColumns(
        country=located.countries.astype(np.int64)[codes],
        place=located.places[codes],
        names=located.names,
        asn=numbers[codes],
        networks=networks,
    )


async def number_places(conn: Connection, columns: PlaceColumns, numbers: PlaceNumbers) -> npt.NDArray[np.int64]:
    """Number each hit's place, 0 where nothing beside the country is known; asks nobody where no hit has one."""
    if len(columns.names) == 1:
        return np.zeros(len(columns.place), np.int64)
    found = await numbers.number(conn, [place for place in columns.names if place is not None])
    table = np.array([0 if place is None else found[place] for place in columns.names], np.int64)
    return table[columns.place]
