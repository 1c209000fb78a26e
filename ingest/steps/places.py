"""Places: country, autonomous system and networks of each distinct address of a batch, the last use of addresses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from analytics_core.networks import NetworkClass
from analytics_core.windows import DAY_US
from ingest.batches import Batch, distinct
from ingest.place_sources import PlaceSources

__all__ = ("PlaceColumns", "place_addresses")


@dataclass(frozen=True, slots=True)
class PlaceColumns:
    """Where each hit's address is.

    Attributes:
        country: Packed, 0 where unknown.
        asn: The autonomous system, 0 where unknown.
        networks: Unions of ``NetworkClass``.
    """

    country: npt.NDArray[np.int64]
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
    packed = rows.tobytes()
    addresses = [packed[at : at + 16] for at in range(0, len(packed), 16)]
    numbers = sources.asns.asns(rows)
    networks = sources.networks.classes(rows, numbers).astype(np.int64)[codes]
    if len(sources.networks.shared):
        # An address is shared up to a day, and one address may have hits of several.
        until = sources.networks.shared.lookup(rows)[codes]
        networks |= np.where(batch.at_us // DAY_US <= until, int(NetworkClass.SHARED), 0)
    return PlaceColumns(
        country=sources.countries.countries(addresses).astype(np.int64)[codes],
        asn=numbers[codes],
        networks=networks,
    )
