"""Nobody gives more than they have: an order among rights, whatever they are."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.granting import Escalation, Rights, base_role, check_grant, rights_of
from analytics_core.permissions import ALL_PERMISSIONS, ROLES, Permission, RoleName

SPONSORS = st.frozensets(st.sampled_from([UUID(int=number) for number in range(3)]))
RIGHTS = st.builds(Rights, st.frozensets(st.sampled_from(list(Permission))), st.none() | SPONSORS)
EVERYTHING = Rights(ALL_PERMISSIONS)


@given(RIGHTS, RIGHTS, RIGHTS)
def test_rights_are_an_order(one: Rights, two: Rights, three: Rights) -> None:
    assert one.covers(one)
    assert EVERYTHING.covers(one)
    assert not (one.covers(two) and two.covers(one)) or one == two
    assert not (one.covers(two) and two.covers(three)) or one.covers(three)


@given(RIGHTS, RIGHTS)
def test_what_is_granted_is_never_more_than_the_granter_has(own: Rights, other: Rights) -> None:
    try:
        check_grant(own, own, other)
    except Escalation as refusal:
        assert not own.covers(other)
        named = [permission for permission in Permission if permission in str(refusal)]
        assert set(named) == other.permissions - own.permissions
    else:
        assert other.permissions <= own.permissions
        assert own.sponsor_ids is None or (other.sponsor_ids is not None and other.sponsor_ids <= own.sponsor_ids)


@given(st.sampled_from(list(RoleName)), st.none() | st.lists(st.sampled_from([*Permission, "moon:read"])), SPONSORS)
def test_a_membership_gives_what_its_role_says(
    role: RoleName, custom: list[str] | None, sponsor_ids: frozenset[UUID]
) -> None:
    rights = rights_of(role, custom, sponsor_ids)
    if custom is None:
        assert rights.permissions == ROLES[role]
    else:
        assert rights.permissions == set(custom) - {"moon:read"}
    assert rights.sponsor_ids == (sponsor_ids if role is RoleName.SPONSOR else None)


@given(SPONSORS)
def test_below_a_custom_role_sponsors_decide_what_is_seen(sponsor_ids: frozenset[UUID]) -> None:
    rights = rights_of(base_role(sponsor_ids), ["links:read"], sponsor_ids)
    assert rights.sponsor_ids == (sponsor_ids or None)


def test_a_refusal_says_what_is_missing() -> None:
    with pytest.raises(Escalation, match="do not have: keys:write, tenant:close"):
        check_grant(rights_of(RoleName.VIEWER), rights_of(RoleName.VIEWER, ["tenant:close", "keys:write"]))
    with pytest.raises(Escalation, match="beyond the sponsors"):
        check_grant(Rights(ALL_PERMISSIONS, frozenset()), rights_of(RoleName.VIEWER))
