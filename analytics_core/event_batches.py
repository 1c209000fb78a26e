"""Batches of events as they are sent: an envelope around them, each event judged alone.

What is wrong with the envelope refuses the request; what is wrong with an event refuses that one event.
``docs/events.md`` is the contract.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections import Counter
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec

from analytics_core.errors import CastledgerError
from analytics_core.event_rules import FIELDS, EventFault, Reception, event_id_of, judge_event, microseconds
from analytics_core.events import EventRecord

__all__ = ("MAX_BODY_BYTES", "MAX_EVENTS", "MAX_EVENT_BYTES", "BatchRefused", "JudgedBatch", "Verdict", "judge_batch")

MAX_BODY_BYTES: Final = 2 * 1024 * 1024
MAX_EVENT_BYTES: Final = 32 * 1024
MAX_EVENTS: Final = 500

_LEAST_CORRECTION_US: Final = 5_000_000
"""Clocks differ, and networks take their time: what is less is left as it is."""

_ENVELOPE: Final = frozenset({"sent_at", "library", "lost", "events"})
_MAX_IGNORED: Final = 20
_MAX_NAME_CHARS: Final = 64
_MAX_REASONS: Final = 100

_BLANKS: Final = (b" ", b"\n", b"\t", b"\r")
_BLANK_COLON: Final = re.compile(rb'"[ \t\r\n]+:')

_envelope_decoder: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_events_decoder: Final = msgspec.json.Decoder(list[msgspec.Raw])
_time_decoder: Final = msgspec.json.Decoder(Annotated[dt.datetime, msgspec.Meta(tz=True)] | None)
_text_decoder: Final = msgspec.json.Decoder(Annotated[str, msgspec.Meta(max_length=100)])
_lost_decoder: Final = msgspec.json.Decoder(dict[str, Annotated[int, msgspec.Meta(ge=0, le=2**53)]])
_any_decoder: Final = msgspec.json.Decoder()


class BatchRefused(CastledgerError):
    """A whole batch was refused for its form; nothing of it was taken.

    Args:
        status: 400 or 413.
        code: Stable word for programs.
        message: One sentence for people.
        pointer: The field of the envelope that is to blame, if one is.
    """

    def __init__(self, status: int, code: str, message: str, *, pointer: str | None = None) -> None:
        self.status = status
        self.code = code
        self.faults = [] if pointer is None else [EventFault(pointer, code, message)]
        super().__init__(message)


class Verdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one event.

    Attributes:
        event_id: Its id; ``None`` when it has none that can be read.
        status: 202, 413 or 422.
        code: Of a refusal, for programs.
        errors: All that is wrong with it.
    """

    event_id: UUID | None
    status: int
    code: str | None = None
    errors: list[EventFault] = []


class JudgedBatch(msgspec.Struct, kw_only=True):
    """A batch, event by event.

    Attributes:
        records: Of the accepted ones, in order.
        verdicts: Of all, in order.
        ignored: Names of fields that are not known here, the first few.
        ignored_fields: How many there were.
        library: What sent it, as it calls itself.
        lost: What the sender lost since it told last, by its own words.
    """

    records: list[EventRecord]
    verdicts: list[Verdict]
    ignored: list[str]
    ignored_fields: int
    library: str
    lost: dict[str, int]


def _refuse_json(message: str) -> BatchRefused:
    return BatchRefused(400, "malformed_json", message)


def _read_envelope(text: str) -> dict[str, msgspec.Raw]:
    try:
        return _envelope_decoder.decode(text)
    except msgspec.ValidationError:
        raise BatchRefused(400, "invalid", "the body has to be a JSON object", pointer="") from None
    except msgspec.DecodeError as error:
        raise _refuse_json(f"the body is not JSON ({error})") from None
    except RecursionError:
        raise _refuse_json("the body is nested too deeply") from None


def _read_events(envelope: dict[str, msgspec.Raw]) -> list[msgspec.Raw]:
    try:
        events = _events_decoder.decode(envelope["events"])
    except KeyError:
        raise BatchRefused(400, "missing", "events is required", pointer="/events") from None
    except msgspec.DecodeError:
        raise BatchRefused(400, "invalid", "has to be a list of events", pointer="/events") from None
    if len(events) > MAX_EVENTS:
        raise BatchRefused(
            413, "too_many_events", f"a request has at most {MAX_EVENTS} events: send more of them", pointer="/events"
        )
    return events


def _correction_of(envelope: dict[str, msgspec.Raw], received_us: int) -> int:
    try:
        sent_at = _time_decoder.decode(envelope["sent_at"]) if "sent_at" in envelope else None
    except msgspec.DecodeError:
        raise BatchRefused(
            400,
            "invalid",
            "has to be a time with its offset from UTC, such as 2026-11-30T06:00:00Z",
            pointer="/sent_at",
        ) from None
    if sent_at is None:
        return 0
    offset_us = received_us - microseconds(sent_at)
    return offset_us if abs(offset_us) > _LEAST_CORRECTION_US else 0


def _read_report(envelope: dict[str, msgspec.Raw]) -> tuple[str, dict[str, int]]:
    """Read what is only counted; in another form than ours it is not, and costs no event."""
    library, lost = "", {}
    try:
        library = _text_decoder.decode(envelope.get("library", b'""'))
        lost = _lost_decoder.decode(envelope.get("lost", b"{}"))
    except msgspec.DecodeError:
        pass
    return library, lost if len(lost) <= _MAX_REASONS else {}


class _Object(dict[str, Any]):
    """An object of JSON that remembers which name it has more than once."""

    repeated: str | None = None


def _make_object(pairs: list[tuple[str, Any]]) -> _Object:
    made = _Object(pairs)
    if len(made) < len(pairs):
        made.repeated = Counter(name for name, _ in pairs).most_common(1)[0][0]
    return made


def _find_repeated(text: str) -> dict[int, tuple[str, str]]:
    """Find events with a name twice: their places, and in each the pointer behind it and the name.

    Raises:
        BatchRefused: The envelope has one.
    """
    try:
        document = json.loads(text, object_pairs_hook=_make_object, parse_int=len, parse_float=len)
    except (ValueError, RecursionError):
        raise _refuse_json("the body is nested too deeply, or not JSON") from None
    if document.repeated is not None:
        raise _refuse_json(f"the field {document.repeated[:_MAX_NAME_CHARS]} is there more than once")
    found: dict[int, tuple[str, str]] = {}
    for place, event in enumerate(document["events"]):
        for pointer, part in (("", event), ("/properties", event.get("properties") if isinstance(event, dict) else 0)):
            if isinstance(part, _Object) and part.repeated is not None:
                found.setdefault(place, (pointer, part.repeated[:_MAX_NAME_CHARS]))
    return found


def _decode_event(raw: msgspec.Raw, pointer: str) -> dict[str, Any] | EventFault:
    try:
        fields = _any_decoder.decode(raw)
    except msgspec.DecodeError as error:
        # Such as a number beyond all bounds.
        return EventFault(pointer, "invalid", f"cannot be read: {error}")
    except RecursionError:
        return EventFault(pointer, "too_deep", "is nested too deeply")
    return fields if isinstance(fields, dict) else EventFault(pointer, "invalid", "has to be an object")


def judge_batch(body: bytes, reception: Reception) -> JudgedBatch:
    """Judge what a client sent, uncompressed.

    Args:
        body: At most ``MAX_BODY_BYTES``.
        reception: How it came in; the correction of its clock is found here.

    Raises:
        BatchRefused: The envelope is none.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise _refuse_json(f"the body is not UTF-8: byte {error.start}") from None
    envelope = _read_envelope(text)
    raws = _read_events(envelope)
    reception = reception._replace(correction_us=_correction_of(envelope, reception.received_us))
    events: list[dict[str, Any] | EventFault | None] = []
    library, lost = _read_report(envelope)
    names = len(envelope) + len(lost)
    for place, raw in enumerate(raws):
        if memoryview(raw).nbytes > MAX_EVENT_BYTES:
            events.append(None)
            continue
        event = _decode_event(raw, f"/events/{place}")
        if not isinstance(event, EventFault):
            names += len(event)
            properties = event.get("properties")
            if type(properties) is dict:
                names += len(properties)
        events.append(event)
    # Names that are there twice are decoded once; reading them all with another decoder costs far more than this.
    repeated = _find_repeated(text) if body.count(b'":') != names or _has_blanks(body) else {}
    batch = JudgedBatch(records=[], verdicts=[], ignored=[], ignored_fields=0, library=library, lost=lost)
    if not envelope.keys() <= _ENVELOPE:
        _note_ignored(batch, envelope.keys() - _ENVELOPE)
    for place, decoded in enumerate(events):
        _judge_one(batch, decoded, raws[place], place, reception, repeated.get(place))
    return batch


def _has_blanks(body: bytes) -> bool:
    """Tell whether blanks stand between a name and its colon, so that names cannot be counted by the two characters."""
    # Libraries write no blanks at all, which is found out in no time.
    return any(blank in body for blank in _BLANKS) and _BLANK_COLON.search(body) is not None


def _note_ignored(batch: JudgedBatch, names: set[str]) -> None:
    batch.ignored_fields += len(names)
    for name in sorted(names):
        short = name[:_MAX_NAME_CHARS]
        if short not in batch.ignored and len(batch.ignored) < _MAX_IGNORED:
            batch.ignored.append(short)


def _judge_one(
    batch: JudgedBatch,
    event: dict[str, Any] | EventFault | None,
    raw: msgspec.Raw,
    place: int,
    reception: Reception,
    repeated: tuple[str, str] | None,
) -> None:
    pointer = f"/events/{place}"
    if event is None:
        large = EventFault(pointer, "event_too_large", f"an event has at most {MAX_EVENT_BYTES} bytes")
        decoded = _decode_event(raw, pointer)
        batch.verdicts.append(Verdict(event_id=event_id_of(decoded), status=413, code=large.code, errors=[large]))
        return
    if isinstance(event, EventFault):
        faults = [event]
    elif repeated is not None:
        inside, name = repeated
        faults = [EventFault(pointer + inside, "repeated_name", f"{name} is there more than once")]
    else:
        if not event.keys() <= FIELDS:
            _note_ignored(batch, event.keys() - FIELDS)
        judged = judge_event(event, reception, pointer=pointer)
        if isinstance(judged, EventRecord):
            batch.records.append(judged)
            batch.verdicts.append(Verdict(event_id=judged.event_id, status=202))
            return
        faults = judged
    batch.verdicts.append(Verdict(event_id=event_id_of(event), status=422, code="validation_failed", errors=faults))
