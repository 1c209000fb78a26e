"""Events: what one leaves in the spool is read as it was written, by this version and by the one before."""

from __future__ import annotations

from uuid import UUID

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.events import EventRecord, EventSource, decode_record, encode_record

texts = st.none() | st.text(max_size=20)
values = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=20)
records = st.builds(
    EventRecord,
    tenant_no=st.integers(1, 2**31 - 1),
    event_id=st.uuids(),
    type=st.text(min_size=1, max_size=20),
    occurred_us=st.integers(-(2**62), 2**62),
    source=st.sampled_from(EventSource),
    click_id=st.none() | st.uuids(),
    promo_code=texts,
    link=texts,
    customer_id=texts,
    external_id=texts,
    value_amount=st.none() | st.integers(0, 10**12),
    currency=texts,
    new_customer=st.none() | st.booleans(),
    url=texts,
    referrer=texts,
    properties=st.dictionaries(st.text(max_size=5), values, max_size=4),
    agent=st.text(max_size=20),
)


@given(records)
def test_a_record_is_read_as_it_was_written(record: EventRecord) -> None:
    assert decode_record(encode_record(record)) == record


def test_fields_of_a_later_version_are_ignored_and_those_of_an_earlier_one_are_defaults() -> None:
    record = EventRecord(tenant_no=1, event_id=UUID(int=2), type="signup", occurred_us=3)
    later = msgspec.msgpack.encode([*msgspec.msgpack.decode(encode_record(record)), "more"])
    assert decode_record(later) == record
    assert decode_record(msgspec.msgpack.encode([1, UUID(int=2).bytes, "signup", 3])) == record
