"""How tenants are named, what they may set, and how quotas are written."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.errors import InvalidInput
from analytics_core.permissions import ALL_PERMISSIONS, INSTALLATION_PERMISSIONS, ROLES, Permission, RoleName
from analytics_core.quotas import MAX_LIMIT, Metric, Period, Quota, parse_quota
from analytics_core.tenant_settings import SETTINGS, effective, parse_setting
from analytics_core.tenants import parse_slug, parse_tenant_name

T = TypeVar("T")


def outcome(read: Callable[[], T]) -> T | InvalidInput:
    """What comes of reading something: a value, or why it was refused."""
    try:
        return read()
    except InvalidInput as error:
        return error


@given(st.text(max_size=70))
def test_a_slug_is_taken_as_it_is_or_refused(text: str) -> None:
    found = outcome(lambda: parse_slug(text, path="/slug"))
    if isinstance(found, InvalidInput):
        assert (found.path, found.code) == ("/slug", "invalid_slug")
        return
    assert found == text
    assert 1 <= len(text) <= 63
    assert set(text) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert not text.startswith("-")
    assert not text.endswith("-")


@given(st.text(min_size=1, max_size=220))
def test_a_name_that_is_read_is_read_as_the_same_again(text: str) -> None:
    name = outcome(lambda: parse_tenant_name(text, path="/name"))
    if isinstance(name, InvalidInput):
        assert name.path == "/name"
    else:
        assert name
        assert parse_tenant_name(name, path="/name") == name


def test_every_default_is_a_value_that_can_be_set() -> None:
    for key, setting in SETTINGS.items():
        assert parse_setting(key, setting.default) == setting.default
        assert setting.description.endswith(".")


_anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80) | st.lists(st.integers())


@given(st.sampled_from([*SETTINGS]), _anything | st.sampled_from(["Europe/Berlin", "hour", "week"]))
def test_what_is_taken_holds_and_what_is_not_leaves_the_default(key: str, value: object) -> None:
    taken = outcome(lambda: parse_setting(key, value))
    if not isinstance(taken, InvalidInput):
        assert type(taken) is type(SETTINGS[key].default)
        assert effective({key: taken}) == {**effective({}), key: taken}
        return
    assert taken.path == f"/settings/{key}"
    if value is None or isinstance(value, str | int):
        assert effective({key: value})[key] == SETTINGS[key].default


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/localtime", "Europe", "", "UTC\x00", "posix/../UTC"])
def test_a_time_zone_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="such as Europe/Berlin"):
        parse_setting("timezone", name)


@given(st.sampled_from(Metric), st.sampled_from(Period), st.none() | st.integers(0, MAX_LIMIT))
def test_a_quota_is_read_as_it_is_written(metric: Metric, period: Period, limit: int | None) -> None:
    text = f"{metric}/{period}={'unlimited' if limit is None else limit}"
    assert parse_quota(text) == Quota(metric, period, limit)


@pytest.mark.parametrize(
    "text", ["", "=", "links", "links=", "links=1.5", "links=٣", "links/day/day=1", f"links={10**10}"]
)
def test_what_is_no_quota_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="QUOTA"):
        parse_quota(text)


def test_only_owners_close_a_tenant_or_change_others() -> None:
    assert INSTALLATION_PERMISSIONS < ALL_PERMISSIONS
    for role, permissions in ROLES.items():
        may = permissions & {Permission.TENANT_CLOSE, Permission.TENANTS_WRITE}
        assert bool(may) is (role is RoleName.OWNER)
