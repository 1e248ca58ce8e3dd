"""What the codec tests share: every value that must come back, and how to tell that it did."""

import struct
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from cascada.codecs.values import ValueCodec
from cascada.model.entry import Codec

CODEC = ValueCodec()

_OFFSETS = st.timedeltas(min_value=timedelta(hours=-23), max_value=timedelta(hours=23))
_ZONES = (
    st.none()
    | st.just(UTC)
    | _OFFSETS.map(timezone)
    | st.builds(timezone, _OFFSETS, st.sampled_from(["CET", "\xf1"]))
    | st.sampled_from(["Europe/Berlin", "Europe/Madrid", "Africa/Lagos", "UTC"]).map(ZoneInfo)
)
_FOLDS = st.sampled_from([0, 1])
_PLAIN_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text()
    | st.binary()
)

plain_values = st.recursive(
    _PLAIN_SCALARS,
    lambda inner: st.lists(inner) | st.dictionaries(_PLAIN_SCALARS, inner),
    max_leaves=20,
)

_atoms = (
    _PLAIN_SCALARS
    | st.integers()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.dates()
    | st.builds(
        lambda at, zone, fold: at.replace(tzinfo=zone, fold=fold), st.times(), _ZONES, _FOLDS
    )
    | st.builds(
        lambda at, zone, fold: at.replace(tzinfo=zone, fold=fold), st.datetimes(), _ZONES, _FOLDS
    )
    | st.timedeltas()
    | st.complex_numbers()
)
_few: dict[str, Any] = {"max_size": 3}
_hashable = (
    _atoms
    | st.lists(_atoms, **_few).map(tuple)
    | st.frozensets(_atoms | st.frozensets(_atoms, **_few), **_few)
)

values = st.recursive(
    _hashable,
    lambda inner: (
        st.lists(inner, **_few)
        | st.lists(inner, **_few).map(tuple)
        | st.sets(_hashable, **_few)
        | st.dictionaries(_hashable, inner, **_few)
    ),
    max_leaves=6,
)


def exact(value: Any) -> Any:
    """A form in which two values are equal only if their types, order and bits are."""
    kind = type(value).__name__
    match value:
        case bool() | None | str() | bytes() | int() | UUID():
            return kind, value
        case float():
            return kind, struct.pack("<d", value)
        case complex():
            return kind, exact(value.real), exact(value.imag)
        case list() | tuple():
            return kind, [exact(item) for item in value]
        case dict():
            return kind, [(exact(key), exact(item)) for key, item in value.items()]
        case set() | frozenset():
            return kind, sorted(map(exact, value), key=repr)
        case Decimal():
            return kind, str(value)
        case datetime() | time():
            zone = getattr(value.tzinfo, "key", repr(value.tzinfo))
            named = None if value.tzinfo is None else value.tzinfo.tzname(None)
            return kind, value.replace(tzinfo=None).isoformat(), value.fold, zone, named
        case date() | timedelta():
            return kind, value
    raise AssertionError(f"no exact form of a {kind}")


def back(value: Any, codec: ValueCodec = CODEC, **how: Any) -> Any:
    """What `value` comes back as."""
    encoded = codec.encode(value, **how)
    decoded = codec.decode(encoded.data, encoded.codec, encoded.flags, type=how.get("type"))
    return decoded


def codec_of(value: Any, **how: Any) -> Codec:
    return CODEC.encode(value, **how).codec
