"""Places: country, autonomous system and networks of each distinct address of a batch, the last use of addresses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from analytics_core.networks import NetworkClass
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


def place_addresses(batch: Batch, sources: PlaceSources) -> PlaceColumns:
    """Look each distinct address up once."""
    places, codes = distinct(batch.address[:, 1], batch.address[:, 0])
    rows: npt.NDArray[Any] = np.ascontiguousarray(batch.address[places].astype(">u8")).view(np.uint8).reshape(-1, 16)
    packed = rows.tobytes()
    addresses = [packed[at : at + 16] for at in range(0, len(packed), 16)]
    numbers = sources.asns.asns(rows)
    return PlaceColumns(
        country=sources.countries.countries(addresses).astype(np.int64)[codes],
        asn=numbers[codes],
        networks=sources.networks.classes(rows, numbers).astype(np.int64)[codes],
    )
