"""The forms of tenants, of what they set, and of what they may use."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal
from uuid import UUID

import msgspec

from analytics_core.db.quotas import Usage
from analytics_core.db.tenant_settings import StoredSetting, version_of
from analytics_core.db.tenant_states import TenantState
from analytics_core.people import MAX_EMAIL, MAX_NAME
from analytics_core.quotas import MAX_LIMIT, Metric, Period
from analytics_core.tenant_settings import SETTINGS, effective
from analytics_core.tenants import GRACE_DAYS, MAX_GRACE_DAYS, TenantStatus

__all__ = (
    "AddTenant",
    "ChangeSettings",
    "ChangeTenant",
    "CloseOther",
    "CloseTenant",
    "FoundTenant",
    "NewTenant",
    "QuotaToSet",
    "RenameTenant",
    "SetQuotas",
    "Tenant",
    "TenantSetting",
    "TenantSettings",
    "UsageAnswer",
    "UsedQuota",
)

# The pattern is checked by the rule, whose message says what a slug is.
_Slug = Annotated[str, msgspec.Meta(min_length=1, max_length=63)]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]
_Limit = Annotated[int, msgspec.Meta(ge=0, le=MAX_LIMIT)]
_Value = Annotated[str, msgspec.Meta(max_length=200)] | int | None


class AddTenant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tenant to be made.

    With `owner_email` its first owner is that person: at once where they have proven the address to be theirs, else
    as soon as they accept the invitation that is mailed to them. Without it the owner is an API key.
    """

    slug: _Slug
    name: _Name
    owner_email: Annotated[str, msgspec.Meta(min_length=3, max_length=MAX_EMAIL)] | None = None


class FoundTenant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tenant of your own, to be made."""

    slug: _Slug
    name: _Name


class RenameTenant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another name for a tenant."""

    name: _Name


class ChangeTenant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What becomes of a tenant: `suspended` can only be read, `active` takes that back, or its closing."""

    status: Literal["active", "suspended"]


class CloseTenant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """That a tenant is to be closed: `confirm` is its slug."""

    confirm: _Slug


class CloseOther(CloseTenant, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """That the installation closes a tenant, and for how many days that can be taken back: 30, or 0 to 365."""

    grace_days: Annotated[int, msgspec.Meta(ge=0, le=MAX_GRACE_DAYS)] = GRACE_DAYS


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant.

    One that is `closing` can be read and exported until `closes_at`, when it is erased; who closed it, `closed_by`, can
    open it again until then.
    """

    tenant_id: UUID
    slug: str
    name: str
    is_installation: bool
    status: TenantStatus
    created_at: dt.datetime
    closing_at: dt.datetime | None
    closes_at: dt.datetime | None
    closed_by: Literal["tenant", "installation"] | None

    @classmethod
    def of(cls, state: TenantState) -> Tenant:
        """Show a tenant as it stands."""
        return cls(
            tenant_id=state.tenant_id,
            slug=state.slug,
            name=state.name,
            is_installation=state.is_installation,
            status=state.status,
            created_at=state.created_at,
            closing_at=state.closing_at,
            closes_at=state.closes_at,
            closed_by=state.closed_by,
        )


class NewTenant(Tenant, frozen=True, kw_only=True):
    """A tenant that was just made, with its first owner.

    That is a person who is a `member` now, one who is `invited`, or the `key` in `api_key`, which is shown this once.
    """

    owner: Literal["member", "invited", "key"]
    api_key: str | None

    @classmethod
    def with_owner(cls, tenant: Tenant, owner: Literal["member", "invited", "key"], api_key: str | None) -> NewTenant:
        """Show a tenant that was just made."""
        return cls(**msgspec.structs.asdict(tenant), owner=owner, api_key=api_key)


class ChangeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings by key; `null` takes one back, so that its default holds again."""

    settings: Annotated[dict[str, _Value], msgspec.Meta(min_length=1, max_length=50)]


class TenantSetting(msgspec.Struct, frozen=True, kw_only=True):
    """A setting: the value that holds, where it is from, and what it does."""

    value: str | int
    source: Literal["tenant", "default"]
    default: str | int
    description: str
    form: str
    updated_at: dt.datetime | None
    updated_by: str | None


class TenantSettings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings by key. `version` grows with every change; send it as `If-Match` to change what you have seen."""

    version: int
    settings: dict[str, TenantSetting]

    @classmethod
    def of(cls, stored: dict[str, StoredSetting]) -> TenantSettings:
        """Show what holds, given what is stored."""
        values = effective({key: setting.value for key, setting in stored.items()})
        shown = {}
        for key, setting in SETTINGS.items():
            row = stored.get(key)
            is_own = row is not None and row.value is not None and row.value == values[key]
            shown[key] = TenantSetting(
                value=values[key],
                source="tenant" if is_own else "default",
                default=setting.default,
                description=setting.description,
                form=setting.form,
                updated_at=None if row is None else row.updated_at,
                updated_by=None if row is None else row.updated_by,
            )
        return cls(version=version_of(stored), settings=shown)


class QuotaToSet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many there may be (`total`), or may be made in a UTC `day` or `month`; `null` is as many as one likes."""

    metric: Metric
    period: Period = Period.TOTAL
    limit: _Limit | None


class SetQuotas(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All quotas of a tenant: they replace those that it had."""

    quotas: Annotated[list[QuotaToSet], msgspec.Meta(max_length=len(Metric) * len(Period))]


class UsedQuota(msgspec.Struct, frozen=True, kw_only=True):
    """What is used of something; `limit` is null where there is none, `resets_at` for the total."""

    metric: Metric
    period: Period
    limit: int | None
    used: int
    resets_at: dt.datetime | None


class UsageAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a tenant uses of everything that is counted."""

    data: list[UsedQuota]

    @classmethod
    def of(cls, usage: list[Usage]) -> UsageAnswer:
        """Show what is used."""
        return cls(data=[UsedQuota(**msgspec.structs.asdict(one)) for one in usage])
