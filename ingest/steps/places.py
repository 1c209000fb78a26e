"""Places: the country and the networks of each distinct address of a batch, the last use of addresses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from analytics_core.geo import CountryLookup
from analytics_core.networks import NetworkClass, NetworkLists
from ingest.batches import Batch, distinct

__all__ = ("PlaceColumns", "place_addresses")


@dataclass(frozen=True, slots=True)
class PlaceColumns:
    """Each hit's packed country, 0 where unknown, and in which networks its address is."""

    country: npt.NDArray[np.int64]
    is_blocked: npt.NDArray[np.bool_]
    is_datacenter: npt.NDArray[np.bool_]
    is_vpn: npt.NDArray[np.bool_]


def place_addresses(batch: Batch, countries: CountryLookup, networks: NetworkLists) -> PlaceColumns:
    """Look each distinct address up once."""
    places, codes = distinct(batch.address[:, 1], batch.address[:, 0])
    rows: npt.NDArray[Any] = np.ascontiguousarray(batch.address[places].astype(">u8")).view(np.uint8).reshape(-1, 16)
    packed = rows.tobytes()
    addresses = [packed[at : at + 16] for at in range(0, len(packed), 16)]
    classes = networks.classes(rows)[codes]
    return PlaceColumns(
        country=countries.countries(addresses).astype(np.int64)[codes],
        is_blocked=(classes & NetworkClass.BLOCKED) != 0,
        is_datacenter=(classes & NetworkClass.DATACENTER) != 0,
        is_vpn=(classes & NetworkClass.VPN) != 0,
    )
