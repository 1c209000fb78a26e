"""The world of sponsors: the same for a seed, true to itself, and differences from it are told."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from analytics_core.redemptions import open_redemptions
from castledger_server.demo.sponsorship.comparing import Found, compare, credit_of, leaked, true_credit, weigh
from castledger_server.demo.sponsorship.telling import write_list
from castledger_server.demo.sponsorship.truth import make_world
from castledger_server.demo.sponsorship.world import GRACE, SIZES, Conversion, Fate, Leak, Signal, World, is_listed

_FIRST_DAY = dt.date(2026, 3, 1)
_SEEDS = st.integers(0, 2**31 - 1)


def _world(seed: int = 1) -> World:
    return make_world(seed=seed, size=SIZES["small"], first_day=_FIRST_DAY)


def _found(one: Conversion) -> Found:
    """Say what a run says of a conversion that it got right."""
    status = {Fate.COUNTED: "unattributed" if one.named is None else "attributed"}.get(one.fate, one.fate.value)
    if one.fate is not Fate.COUNTED:
        return Found(status, one.value_amount, None, None, is_late=False, leak=None)
    return Found(status, one.value_amount, one.named, one.signal, one.is_late, one.leak)


@settings(max_examples=10, deadline=None)
@given(seed=_SEEDS)
def test_a_seed_makes_one_world(seed: int) -> None:
    world = _world(seed)
    assert world == _world(seed)
    assert world != _world(seed + 1)


@settings(max_examples=12, deadline=None)
@given(seed=_SEEDS)
def test_what_it_says_is_true_of_what_it_tells(seed: int) -> None:
    world = _world(seed)
    for told in (world.downloads, world.clicks):
        assert all(world.begin <= one.at < world.end for one in told)
    assert all(one.at <= one.told_at < world.end for one in world.events)
    purchases = {one.external_id: one for one in world.events if one.type == "purchase"}
    assert purchases.keys() == {one.external_id for one in world.conversions}
    back: Counter[str | None] = Counter()
    for event in {one.refund_id: one for one in world.events if one.type == "refund"}.values():
        back[event.external_id] += event.value_amount or 0
    for one in world.conversions:
        told_first = purchases[one.external_id]
        assert told_first.value_amount == one.value_amount + back[one.external_id]
        assert (one.fate is Fate.RETRACTED) is (one.value_amount == 0)
        if one.named is not None:
            campaign = world.campaigns[one.named]
            assert campaign.sponsor == one.sponsor
            if one.signal is Signal.CLICK:
                assert told_first.click is not None
                click = world.clicks[told_first.click]
                assert click.campaign == one.named
                assert dt.timedelta(0) <= one.at - click.at <= campaign.window
            if one.signal is Signal.CODE:
                assert told_first.promo_code == campaign.code
                assert campaign.starts_at <= one.at < campaign.ends_at + GRACE
                assert one.is_late is (one.at >= campaign.ends_at)


@settings(max_examples=12, deadline=None)
@given(seed=_SEEDS)
def test_codes_leak_where_nobody_heard_them_and_nowhere_else(seed: int) -> None:
    world = _world(seed)
    heard: dict[int, set[dt.date]] = {}
    for campaign in world.campaigns:
        days = heard.setdefault(campaign.number, set())
        for placed in campaign.placements:
            days.update(
                one.at.date()
                for one in world.downloads
                if one.episode == placed.episode and placed.live_from <= one.at < placed.live_until
            )
    for one in world.conversions:
        if one.signal is Signal.CODE and one.named is not None and one.leak is not Leak.COUPON_REFERRER:
            first = (one.at - world.campaigns[one.named].window).date()
            is_heard = any(first <= day <= one.at.date() for day in heard[one.named])
            assert (one.leak is Leak.NO_EXPOSURE) is not is_heard, one


@settings(max_examples=10, deadline=None)
@given(seed=_SEEDS, data=st.data())
def test_whatever_differs_is_told(seed: int, data: st.DataObject) -> None:
    world = _world(seed)
    found = {one.external_id: _found(one) for one in world.conversions}
    assert list(compare(world, found)) == []
    one = data.draw(st.sampled_from([one for one in world.conversions if one.fate is Fate.COUNTED]))
    was = found[one.external_id]
    wrong = data.draw(
        st.sampled_from(
            [
                was._replace(value_amount=one.value_amount + 1),
                was._replace(campaign=None if one.named is not None else 0),
                was._replace(status="retracted"),
                was._replace(is_late=not was.is_late),
                was._replace(leak=Leak.NO_EXPOSURE if was.leak is None else None),
            ]
        )
    )
    (line,) = compare(world, {**found, one.external_id: wrong})
    assert line.startswith(f"{one.external_id} ")
    del found[one.external_id]
    assert list(compare(world, {**found, "order-0": wrong})) != []
    assert len(list(compare(world, {**found, "order-0": wrong}))) == 2


@settings(max_examples=10, deadline=None)
@given(seed=_SEEDS)
def test_what_knows_the_cause_is_never_wrong(seed: int) -> None:
    world = _world(seed)
    everybody = range(world.size.sponsors)
    shares = {one.external_id: {one.cause: 1_000_000} for one in world.conversions if one.cause is not None}
    best = weigh(world, "omniscient", shares, everybody)
    assert (best.share_points, best.right_ppm, best.uncaused_ppm) == (0, 1_000_000, 0)
    named = weigh(world, "named", credit_of({one.external_id: _found(one) for one in world.conversions}), everybody)
    assert 0 < named.right_ppm < 1_000_000
    assert named.uncaused_ppm > 0


@settings(max_examples=10, deadline=None)
@given(seed=_SEEDS)
def test_hosts_are_typed_where_there_are_some_and_lists_say_what_events_would(seed: int) -> None:
    world = _world(seed)
    typed = [one for one in world.clicks if one.is_typed]
    assert 0 < len(typed) < len(world.clicks)
    assert all(world.campaigns[one.campaign].vanity_host is not None for one in typed)
    events = [one for one in world.events if is_listed(one)]
    redeemed = [one for one in world.events if one.type == "purchase" and one.promo_code is not None]
    assert 0 < len(events) < len(redeemed)
    now = dt.datetime.combine(_FIRST_DAY, dt.time(), dt.UTC) + dt.timedelta(days=31)
    listed = open_redemptions(write_list(events), action_id=UUID(int=1), currency=None, tz=None)
    assert listed.ignored == []
    for row, event in zip(listed.rows(now=now), events, strict=True):
        assert not row.faults
        told = row.conversion
        assert told is not None
        assert (told.external_id, told.occurred_at, told.promo_code) == (event.external_id, event.at, event.promo_code)
        assert (told.value_amount, told.customer_id) == (event.value_amount, event.customer)
        assert (told.referrer_host is None) is (event.referrer is None)


def test_sums_are_those_of_the_conversions() -> None:
    world = _world()
    counted = [one for one in world.conversions if one.fate is Fate.COUNTED and one.named is not None]
    sums = true_credit(world).values()
    assert sum(count for count, _ in sums) == len(counted)
    assert sum(amount for _, amount in sums) == sum(one.value_amount for one in counted)
    codes = [leaked(world, sponsor) for sponsor in range(world.size.sponsors)]
    live = [one for one in world.conversions if one.signal is Signal.CODE and one.fate is not Fate.RETRACTED]
    assert sum(one.redemptions for one in codes) == len(live)
    assert sum(sum(one.leaks.values()) for one in codes) == sum(one.leak is not None for one in live)
