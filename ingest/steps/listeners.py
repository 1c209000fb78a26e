"""Listeners: the two keys of each distinct listener of a batch."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from analytics_core.db.copying import Keys, pack_keys
from analytics_core.db.secrets import INSTALLATION
from analytics_core.listeners import KEY_BYTES, month_of
from ingest.batches import Batch, Codes, distinct
from ingest.secrets import MonthSecret, SecretStore
from ingest.steps.targets import TargetColumns

__all__ = (
    "ListenerColumns",
    "ListenerSecrets",
    "find_secrets",
    "hash_addresses",
    "hash_tenants",
    "key_listeners",
    "truncated",
)

_DAY_US: Final = 86_400_000_000
_MAPPED: Final = 0xFFFF


@dataclass(frozen=True, slots=True)
class ListenerColumns:
    """Each hit's keys.

    Attributes:
        k0: First-stage keys.
        listener_key: Keys under the tenant's secret; the first-stage key where there is no tenant.
        is_rekeyed: Whether a secret had to be made for this run.
    """

    k0: Keys
    listener_key: Keys
    is_rekeyed: npt.NDArray[np.bool_]


class ListenerSecrets(NamedTuple):
    """What a batch's listeners are keyed with.

    Attributes:
        months: Each hit's UTC month, by its place in *installation*.
        installation: The installation's secret of each month.
        tenants: Tenants' secrets by month and tenant.
    """

    months: Codes
    installation: list[MonthSecret]
    tenants: dict[tuple[int, int], MonthSecret]


def truncated(address: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Truncate a column of addresses as ``analytics_core.listeners.truncate_address`` does one."""
    is_v4 = (address[:, 0] == 0) & (address[:, 1] >> np.uint64(32) == _MAPPED)
    kept = address.copy()
    kept[~is_v4, 1] = 0
    return kept


def _months(batch: Batch) -> tuple[list[int], Codes]:
    """Number the UTC months of a batch; return one instant of each, and each hit's month."""
    days = batch.at_us // _DAY_US
    places, day_codes = distinct(days)
    first_days = days[places].tolist()
    months = [month_of(day * _DAY_US) for day in first_days]
    index = {month: place for place, month in enumerate(dict.fromkeys(months))}
    of_day = np.array([index[month] for month in months], np.int64)
    instants = {month: day * _DAY_US for month, day in zip(months, first_days, strict=True)}
    return [instants[month] for month in index], of_day[day_codes]


async def find_secrets(batch: Batch, targets: TargetColumns, secrets: SecretStore) -> ListenerSecrets:
    """Find the secrets of a batch's months, the installation's and the tenants'."""
    instants, months = _months(batch)
    tenant_no = targets.tenant_no[targets.codes]
    places, _ = distinct(months, tenant_no)
    return ListenerSecrets(
        months=months,
        installation=[await secrets.get(month_of(at), INSTALLATION) for at in instants],
        tenants={
            (month, tenant): await secrets.get(month_of(instants[month]), tenant)
            for month, tenant in zip(months[places].tolist(), tenant_no[places].tolist(), strict=True)
            if tenant
        },
    )


def key_listeners(batch: Batch, targets: TargetColumns, secrets: ListenerSecrets) -> ListenerColumns:
    """Make the keys of each distinct listener: of address and agent first, then of that and the tenant."""
    months, installation, of_tenants = secrets.months, secrets.installation, secrets.tenants
    address = truncated(batch.address)
    places, codes = distinct(batch.agent.codes, address[:, 1], address[:, 0], months)
    k0 = hash_addresses(
        address[places].astype(">u8").tobytes(),
        [batch.agent.values[code] for code in batch.agent.codes[places].tolist()],
        months[places].tolist(),
        installation,
    )
    tenant_no = targets.tenant_no[targets.codes]
    key_places, key_codes = distinct(tenant_no, codes)
    pair_of_key = codes[key_places]
    # Few are the months and tenants that a batch is of.
    scope_places, scope_codes = distinct(months[key_places], tenant_no[key_places])
    at = key_places[scope_places]
    scopes = list(zip(months[at].tolist(), tenant_no[at].tolist(), strict=True))
    keys = hash_tenants(
        [k0[pair] for pair in pair_of_key.tolist()],
        scope_codes.tolist(),
        [of_tenants[scope].secret if scope[1] else None for scope in scopes],
    )
    is_fresh = [installation[scope[0]].is_fresh or (scope[1] > 0 and of_tenants[scope].is_fresh) for scope in scopes]
    return ListenerColumns(
        k0=pack_keys(k0)[codes],
        listener_key=pack_keys(keys)[key_codes],
        is_rekeyed=np.array(is_fresh, np.bool_)[scope_codes][key_codes],
    )


def hash_addresses(
    addresses: bytes, agents: Sequence[bytes], months: Sequence[int], secrets: Sequence[MonthSecret]
) -> list[bytes]:
    """Make first-stage keys as ``analytics_core.listeners.early_key`` makes one.

    A hash that was given its key once is copied, which is half the work of a new one.

    Args:
        addresses: Truncated, 16 bytes each, one behind the other.
        agents: As many agents.
        months: For each pair the place of its month's secret.
        secrets: The installation's.
    """
    keyed = [hashlib.blake2b(key=month.secret, digest_size=KEY_BYTES) for month in secrets]
    keys = []
    for (address,), agent, month in zip(struct.iter_unpack("16s", addresses), agents, months, strict=True):
        digest = keyed[month].copy()
        digest.update(address + agent)
        keys.append(digest.digest())
    return keys


def hash_tenants(early: Sequence[bytes], scopes: Sequence[int], secrets: Sequence[bytes | None]) -> list[bytes]:
    """Make tenants' keys as ``analytics_core.listeners.listener_key`` makes one.

    Args:
        early: First-stage keys.
        scopes: For each the place of its month's and tenant's secret.
        secrets: Those secrets; without one a key stays what it is.
    """
    keyed = [secret and hashlib.blake2b(key=secret, digest_size=KEY_BYTES) for secret in secrets]
    keys = []
    for key, scope in zip(early, scopes, strict=True):
        hasher = keyed[scope]
        if not hasher:
            keys.append(key)
            continue
        digest = hasher.copy()
        digest.update(key)
        keys.append(digest.digest())
    return keys
