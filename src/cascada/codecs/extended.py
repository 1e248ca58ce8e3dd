"""Untyped values, back exactly as they were: msgpack, and extension types for what it lacks.

msgpack has None, bool, int (64 bits), float, str, bytes, list and dict. A value made of these alone
goes as it is. Any other is rewritten: what msgpack lacks becomes an extension (its payload again
msgpack where it holds values), and what cannot come back exactly is refused. The one exception is a
UUID of a driver's own class, which comes back as the equal UUID.

    code  type             payload
    1     tuple            list                   8     time          see _TIME
    2     set              list, sorted by bytes  9     datetime      _DATE, then as a time
    3     frozenset        list, sorted by bytes  10    timedelta     days, seconds, microseconds
    4     int              signed, little endian  11    complex       two float64
    5     Decimal          text                   12    array         as in codecs/arrays.py
    6     UUID             16 bytes               13    dict          keys and values in turn, where
    7     date             ordinal                                    a key is no plain one

A time is followed by its zone's key (its offset is then that of naive ones), or by the name that
its fixed offset was given; a UUID by a byte, if it is known whether it was made safely.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID, SafeUUID

import msgspec
from msgspec.msgpack import Ext

from cascada.codecs.arrays import is_array, pack_array, unpack_array
from cascada.codecs.bounds import MAX_ALIKE, SCALARS, alike
from cascada.codecs.hints import hint
from cascada.codecs.shapes import TooDeep, Unstorable
from cascada.codecs.zones import restored, told
from cascada.model.errors import CorruptEntry

MAX_DEPTH: Final = 100
"""Levels of a rewritten value. Decoding takes more of the stack than encoding did: without a bound
a value could be stored that can never be read."""

_TIME: Final = struct.Struct("<BBBIBq")  # hour, minute, second, microsecond, fold, offset
_DATE: Final = struct.Struct("<HBB")  # year, month, day
_TIMEDELTA: Final = struct.Struct("<iii")
_COMPLEX: Final = struct.Struct("<dd")
_NAIVE: Final = -(2**63)  # the offset (in microseconds) of what has no zone


def extend(value: Any, depth: int = 0) -> Any:
    """`value` with extensions in place of what msgpack lacks; Unstorable for what cannot be."""
    kind = type(value)
    if kind in SCALARS:
        if kind is not int or _fits_msgpack(value):
            return value
        size = value.bit_length() // 8 + 1
        return Ext(4, value.to_bytes(size, "little", signed=True))
    if depth == MAX_DEPTH:
        raise TooDeep(f"is nested more than {MAX_DEPTH} levels deep")
    depth += 1
    if kind is list:
        return [extend(item, depth) for item in value]
    if kind is dict:
        return _extend_dict(value, depth)
    if kind in _COLLECTIONS:
        return _extend_collection(value, depth)
    if kind in _ATOMS:
        code, write = _ATOMS[kind]
        return Ext(code, write(value))
    if isinstance(value, UUID):
        return Ext(6, _uuid_bytes(value))
    if is_array(value):
        return Ext(12, pack_array(value))
    raise Unstorable(hint(value))


def _extend_collection(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind is not tuple and alike(value):
        raise Unstorable(_ALIKE)
    items = [extend(item, depth) for item in value]
    if kind is not tuple:
        # Sets have no order of their own: without this, equal sets would have different bytes.
        items = [msgspec.Raw(item) for item in sorted(map(encode, items))]
    return Ext(_COLLECTIONS[kind], encode(items))


def _extend_dict(value: dict[Any, Any], depth: int) -> Any:
    if all(type(key) in SCALARS and _fits_msgpack(key) for key in value):
        return {key: extend(item, depth) for key, item in value.items()}
    if alike(value):
        raise Unstorable(_ALIKE)
    return Ext(13, encode([extend(part, depth) for pair in value.items() for part in pair]))


_ALIKE: Final = f"has more than {MAX_ALIKE} elements or keys of one hash; pass it as a list"


def _fits_msgpack(scalar: Any) -> bool:
    return type(scalar) is not int or -(2**63) <= scalar < 2**64


def _zone_of(value: datetime | time) -> tuple[int, bytes]:
    zone = told(value.tzinfo)
    if zone is None:
        raise Unstorable(
            "has a time zone that no name tells; pass it with a zoneinfo.ZoneInfo or a fixed one"
        )
    offset = _NAIVE if zone.offset is None else zone.offset // timedelta(microseconds=1)
    return offset, zone.name.encode()


def _time_bytes(value: time) -> bytes:
    offset, name = _zone_of(value)
    fields = _TIME.pack(
        value.hour, value.minute, value.second, value.microsecond, value.fold, offset
    )
    return fields + name


def _read_time(data: memoryview) -> time:
    hour, minute, second, microsecond, fold, offset = _TIME.unpack_from(data)
    fixed = None if offset == _NAIVE else timedelta(microseconds=offset)
    zone = restored(fixed, str(data[_TIME.size :], "utf-8"))
    return time(hour, minute, second, microsecond, zone, fold=fold)


def _datetime_bytes(value: datetime) -> bytes:
    return _DATE.pack(value.year, value.month, value.day) + _time_bytes(value.timetz())


def _read_datetime(data: memoryview) -> datetime:
    return datetime.combine(date(*_DATE.unpack_from(data)), _read_time(data[_DATE.size :]))


def _uuid_bytes(value: UUID) -> bytes:
    safe: int | None = value.is_safe.value
    return value.bytes if safe is None else value.bytes + (safe & 0xFF).to_bytes(1, "little")


def _read_uuid(data: memoryview) -> UUID:
    raw, safe = bytes(data[:16]), data[16:]
    if not safe:
        return UUID(bytes=raw)
    return UUID(bytes=raw, is_safe=SafeUUID(int.from_bytes(safe, "little", signed=True)))


def _items(data: memoryview) -> list[Any]:
    items = decode(data)
    if type(items) is not list:
        raise CorruptEntry("an extension that should hold a list holds something else")
    return items


def _elements(data: memoryview) -> list[Any]:
    items = _items(data)
    if alike(items):
        raise CorruptEntry(f"a set has more than {MAX_ALIKE} elements of one hash")
    return items


def _read_dict(data: memoryview) -> dict[Any, Any]:
    parts = _items(data)
    keys = parts[::2]
    if alike(keys):
        raise CorruptEntry(f"a dict has more than {MAX_ALIKE} keys of one hash")
    return dict(zip(keys, parts[1::2], strict=True))


_COLLECTIONS: Final[dict[type, int]] = {tuple: 1, set: 2, frozenset: 3}

_ATOMS: Final[dict[type, tuple[int, Callable[[Any], bytes]]]] = {
    Decimal: (5, lambda value: str(value).encode()),
    date: (7, lambda value: value.toordinal().to_bytes(4, "little")),
    time: (8, _time_bytes),
    datetime: (9, _datetime_bytes),
    timedelta: (10, lambda value: _TIMEDELTA.pack(value.days, value.seconds, value.microseconds)),
    complex: (11, lambda value: _COMPLEX.pack(value.real, value.imag)),
}

# They get the bytes where they lie: those of values would be copied at each level.
_READERS: Final[dict[int, Callable[[memoryview], Any]]] = {
    1: lambda data: tuple(_items(data)),
    2: lambda data: set(_elements(data)),
    3: lambda data: frozenset(_elements(data)),
    4: lambda data: int.from_bytes(data, "little", signed=True),
    5: lambda data: Decimal(str(data, "ascii")),
    6: _read_uuid,
    7: lambda data: date.fromordinal(int.from_bytes(data, "little")),
    8: _read_time,
    9: _read_datetime,
    10: lambda data: timedelta(*_TIMEDELTA.unpack(data)),
    11: lambda data: complex(*_COMPLEX.unpack(data)),
    12: lambda data: unpack_array(bytes(data)),
    13: _read_dict,
}


def read_extension(code: int, data: memoryview) -> Any:
    """What an extension stands for: the `ext_hook` of every decoder."""
    reader = _READERS.get(code)
    if reader is None:
        raise CorruptEntry(f"a value has the unknown extension {code}")
    return reader(data)


encode: Callable[[Any], bytes] = msgspec.msgpack.Encoder().encode
_decoder: Final = msgspec.msgpack.Decoder(ext_hook=read_extension)
decode: Callable[[bytes | memoryview], Any] = _decoder.decode
