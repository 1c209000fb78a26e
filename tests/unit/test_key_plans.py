"""What a key may become: never more than who makes it, whatever is asked for."""

from __future__ import annotations

import datetime as dt
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.api_keys import PUBLISHABLE_SCOPES, KeyKind
from analytics_core.db.pool import Tenant
from analytics_core.errors import Forbidden
from analytics_core.ids import TenantId, TenantNo
from analytics_core.permissions import ALL_PERMISSIONS, Permission
from api.callers import Caller
from api.errors import InvalidRequest
from api.keys import plan_key
from api.schemas.keys import AddKey

NOW = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)
SCOPES = st.frozensets(st.sampled_from(Permission))


def caller(permissions: frozenset[Permission], *, sponsors: frozenset[UUID] | None = None) -> Caller:
    return Caller(
        tenant=Tenant(TenantId(UUID(int=1)), TenantNo(1)),
        is_installation=False,
        status="active",
        permissions=permissions,
        sponsor_ids=sponsors,
    )


@given(SCOPES, SCOPES | st.none(), st.sampled_from(KeyKind))
def test_no_key_may_do_what_its_maker_may_not(
    own: frozenset[Permission], wanted: frozenset[Permission] | None, kind: KeyKind
) -> None:
    origins = ["https://shop.example"] if kind is KeyKind.PUBLISHABLE else []
    asked = AddKey(
        name="k", kind=kind, scopes=None if wanted is None else [str(scope) for scope in wanted], origins=origins
    )
    meant = (PUBLISHABLE_SCOPES if kind is KeyKind.PUBLISHABLE else own) if wanted is None else wanted
    is_possible = kind is KeyKind.SECRET or meant == PUBLISHABLE_SCOPES
    if not is_possible or wanted == frozenset():
        with pytest.raises(InvalidRequest, match="/scopes"):
            plan_key(asked, caller=caller(own), now=NOW)
    elif meant <= own:
        plan = plan_key(asked, caller=caller(own), now=NOW)
        assert set(plan.scopes) == meant
        assert list(plan.scopes) == sorted(plan.scopes)
    else:
        with pytest.raises(Forbidden) as caught:
            plan_key(asked, caller=caller(own), now=NOW)
        assert caught.value.code == "escalation"
        assert all(scope in str(caught.value) for scope in meant - own)


def test_who_sees_some_sponsors_only_makes_no_key_that_sees_all() -> None:
    with pytest.raises(Forbidden) as caught:
        plan_key(AddKey(name="k"), caller=caller(ALL_PERMISSIONS, sponsors=frozenset({UUID(int=1)})), now=NOW)
    assert caught.value.code == "escalation"


@given(st.datetimes(timezones=st.just(dt.UTC) | st.none()))
def test_a_key_ends_ahead_and_within_ten_years(at: dt.datetime) -> None:
    is_good = at.tzinfo is not None and NOW < at <= NOW + dt.timedelta(days=3_660)
    asked = AddKey(name="k", expires_at=at)
    if is_good:
        assert plan_key(asked, caller=caller(ALL_PERMISSIONS), now=NOW).expires_at == at
    else:
        with pytest.raises(InvalidRequest, match="/expires_at"):
            plan_key(asked, caller=caller(ALL_PERMISSIONS), now=NOW)


def test_a_name_is_kept_as_people_read_it() -> None:
    plan = plan_key(AddKey(name=" Cafe\N{COMBINING ACUTE ACCENT} "), caller=caller(ALL_PERMISSIONS), now=NOW)
    assert plan.name == "Caf\N{LATIN SMALL LETTER E WITH ACUTE}"


@pytest.mark.parametrize("name", [" ", "a\u202eb", "a\u2028b", "a\u0085b", "\ufeff"])
def test_a_name_that_reads_as_something_else_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="/name"):
        plan_key(AddKey(name=name), caller=caller(ALL_PERMISSIONS), now=NOW)


def test_all_faults_are_told_at_once() -> None:
    asked = AddKey(name=" ", scopes=["links:eat"], origins=["https://shop.example"], expires_at=NOW)
    with pytest.raises(InvalidRequest) as caught:
        plan_key(asked, caller=caller(ALL_PERMISSIONS), now=NOW)
    assert [fault.pointer for fault in caught.value.faults] == ["/name", "/scopes", "/origins", "/expires_at"]
