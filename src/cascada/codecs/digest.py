"""Ids for things that have none: a hash of what identifies them.

Every part is written with a tag for its type and the lengths of its contents, so no two different
lists of parts have the same text: `("ab", "c")` is not `("a", "bc")`, and 1 is not "1", True, 1.0
or Decimal(1). Dicts, sets and named parts are sorted by their bytes, since equal ones may differ in
order. Nothing in it depends on the process, the machine or the version of Python.

An object of any other class is its class, by module and name, and all that it consists of. What
nobody can see all of (a session, a function, a class written in C) is refused: two different ones
would get the same id, and who asks for the one would be given what was made for the other.
"""

from __future__ import annotations

import struct
import sys
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, Flag
from hashlib import blake2b
from pathlib import Path, PosixPath, PurePath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any, Final
from uuid import UUID

from cascada.codecs.arrays import is_array, pack_array
from cascada.codecs.hints import name_of
from cascada.codecs.shapes import Unstorable, beside, fields_of
from cascada.codecs.zones import told
from cascada.model.errors import BadInput

_SIZE: Final = struct.Struct("<Q")
_DOUBLE: Final = struct.Struct("<d")
_PATHS: Final = (PurePath, PurePosixPath, PureWindowsPath, Path, PosixPath, WindowsPath)

# Their text says all. By name, because to import these takes a while.
_BY_TEXT: Final = frozenset({
    "fractions.Fraction", "ipaddress.IPv4Address", "ipaddress.IPv6Address",
    "ipaddress.IPv4Network", "ipaddress.IPv6Network",
})  # fmt: skip

Writer = Callable[[Any], bytes]


def generate_resource_id_hash(*parts: Any, **named: Any) -> str:
    """32 hexadecimal characters that stand for these parts; BadInput names a type it cannot take.

    Parts are None, bool, numbers, str, bytes, list, tuple, dict, set, UUID, dates, times, paths,
    enum members, arrays, dataclasses, structs and models, nested as you like.
    """
    try:
        text = _tagged(b"H", _listed(map(_text, parts)), _pairs(named))
    except BadInput:
        raise
    except RecursionError as error:
        raise BadInput("a part holds itself, or is nested too deeply, to be hashed") from error
    except Exception as error:
        # An object may raise anything when it is looked at.
        raise BadInput(f"a part cannot be looked at: {type(error).__name__}") from error
    return blake2b(text, digest_size=16, person=b"cascada id 1").hexdigest()


def _text(value: Any) -> bytes:
    # By the class itself: a subclass is another class, though it may be equal to its base.
    writer = _WRITERS.get(type(value))
    return _object(value) if writer is None else writer(value)


def _object(value: Any) -> bytes:
    """A value of somebody's own class."""
    kind = type(value)
    if isinstance(value, Enum):
        # By name, too: members may have values that are written alike (nan). What flags make
        # together has a name that depends on the version of Python.
        name = None if isinstance(value, Flag) else value._name_
        return _tagged(b"E", _class(kind), _text(name), _text(value._value_))
    if isinstance(value, UUID):  # drivers have classes of their own, for the same ids
        return _WRITERS[UUID](value)
    if isinstance(value, PurePath):
        # Python's own have changed their module from one version to the next.
        whose = _text(kind.__name__) if kind in _PATHS else _class(kind)
        return _tagged(b"/", whose, _text(PurePath.__str__(value)))
    if f"{kind.__module__}.{kind.__qualname__}" in _BY_TEXT:
        return _tagged(b"i", _class(kind), _text(str(value)))
    if isinstance(value, tzinfo):
        return _zone(value)
    if is_array(value):
        return _array(value)
    for base, contents in _CONTENTS.items():
        if isinstance(value, base):
            held = _WRITERS[base](contents(value))
            return _tagged(b"K", _class(kind), held, _state(value, base))
    fields = fields_of(value)
    if fields is None:
        raise BadInput(
            f"a {name_of(kind)} cannot be part of an id; pass str, int, UUID, a dataclass, "
            "a model, or a list or dict of such"
        )
    present = {name: getattr(value, name) for name in fields if hasattr(value, name)}
    return _tagged(b"O", _class(kind), _pairs(present), _pairs(beside(value, fields)))


def _class(kind: type) -> bytes:
    names = getattr(kind, "_fields", None) or ()  # made anew under one name, it may have others
    return _text((kind.__module__, kind.__qualname__, *names))


def _state(value: Any, base: type) -> bytes:
    """What an instance of a subclass of `base` holds beside its base's contents."""
    kind = type(value)
    if kind.__reduce_ex__ is not base.__reduce_ex__ or kind.__reduce__ is not base.__reduce__:
        # It says itself that there is more to it (as a class written in C has to).
        raise BadInput(f"a {name_of(kind)} cannot be part of an id; pass {base.__name__} of it")
    # Of `object`: the class's own may leave out what it likes. A dict, or one and that of slots.
    return _text(object.__getstate__(value))


def _int(value: int) -> bytes:
    size = value.bit_length() // 8 + 1
    return _tagged(b"I", value.to_bytes(size, "little", signed=True))


def _float(value: float) -> bytes:
    return _tagged(b"F", b"nan" if value != value else _DOUBLE.pack(value))


def _str(value: str) -> bytes:
    return _tagged(b"S", value.encode("utf-8", "surrogatepass"))


def _sequence(tag: bytes) -> Writer:
    return lambda value: _tagged(tag, _listed(map(_text, value)))


def _set(tag: bytes) -> Writer:
    return lambda value: _tagged(tag, _listed(sorted(map(_text, value))))


def _deque(value: deque[Any]) -> bytes:
    return _tagged(b"Q", _text(value.maxlen), _listed(map(_text, value)))


def _ordered(value: dict[Any, Any]) -> bytes:
    return _tagged(b"o", _text(list(value.items())))


def _time(value: time) -> bytes:
    fields = value.hour, value.minute, value.second, value.microsecond, value.fold
    return _tagged(b"t", _text(fields), _zone(value.tzinfo))


def _datetime(value: datetime) -> bytes:
    fields = value.year, value.month, value.day, value.hour, value.minute, value.second
    return _tagged(b"d", _text((*fields, value.microsecond, value.fold)), _zone(value.tzinfo))


def _zone(zone: tzinfo | None) -> bytes:
    # By its name: two zones that agree today may differ after the next change of the clocks.
    known = told(zone)
    if known is None:
        raise BadInput(
            f"a {name_of(type(zone))} cannot be part of an id; "
            "pass the time with a zoneinfo.ZoneInfo, or with a fixed offset"
        )
    return _tagged(b"z", _text(known.offset), _text(known.name))


def _array(value: Any) -> bytes:
    """Arrays by class, dtype (with its byte order), shape and items, in C order; scalars too."""
    numpy = sys.modules.get("numpy")
    try:
        if numpy is not None and isinstance(value, numpy.generic):
            return _tagged(b"n", pack_array(numpy.asarray(value)))
        return _tagged(b"A", _class(type(value)), pack_array(value))
    except Unstorable as error:
        raise BadInput(f"a part of an id {error}") from error


def _tagged(tag: bytes, *contents: bytes) -> bytes:
    return tag + b"".join([_SIZE.pack(len(content)) + content for content in contents])


def _listed(texts: Iterable[bytes]) -> bytes:
    return b"".join([_SIZE.pack(len(text)) + text for text in texts])


def _pairs(items: dict[Any, Any]) -> bytes:
    return _listed(sorted(_listed((_text(key), _text(value))) for key, value in items.items()))


_WRITERS: Final[dict[type, Writer]] = {
    type(None): lambda value: _tagged(b"N"),
    bool: lambda value: _tagged(b"B", b"1" if value else b"0"),
    int: _int,
    float: _float,
    complex: lambda value: _tagged(b"c", _float(value.real), _float(value.imag)),
    str: _str,
    bytes: lambda value: _tagged(b"Y", value),
    bytearray: lambda value: _tagged(b"y", value),
    list: _sequence(b"L"),
    tuple: _sequence(b"T"),
    deque: _deque,
    set: _set(b"X"),
    frozenset: _set(b"x"),
    dict: lambda value: _tagged(b"D", _pairs(value)),
    OrderedDict: _ordered,
    Counter: lambda value: _tagged(b"+", _pairs(value)),
    UUID: lambda value: _tagged(b"U", value.bytes),
    Decimal: lambda value: _tagged(b"C", str(value).encode()),
    date: lambda value: _tagged(b"W", _int(value.toordinal())),
    time: _time,
    datetime: _datetime,
    timedelta: lambda value: _tagged(b"P", _text((value.days, value.seconds, value.microseconds))),
    timezone: _zone,
    range: lambda value: (
        _tagged(b"R", _text((len(value), value[:1].start, value.step)))
        if len(value) > 1
        else _tagged(b"R", _text(list(value)))
    ),
    slice: lambda value: _tagged(b":", _text((value.start, value.stop, value.step))),
}

# What is really in them, whatever a class derived from them says: an amount of money may be written
# with two digits, and have more. Classes of one's own are derived from these, the more special ones
# first.
_CONTENTS: Final[dict[type, Callable[[Any], Any]]] = {
    OrderedDict: lambda value: OrderedDict(OrderedDict.items(value)),
    Counter: dict.copy,
    dict: dict.copy,
    list: list.copy,
    tuple: lambda value: tuple.__getitem__(value, slice(None)),
    deque: lambda value: deque(deque.__iter__(value), deque.maxlen.__get__(value)),
    set: set.__iter__,
    frozenset: frozenset.__iter__,
    str: str.__str__,
    bytes: lambda value: bytes.__getitem__(value, slice(None)),
    bytearray: lambda value: bytearray.__getitem__(value, slice(None)),
    int: int.__pos__,
    float: float.__pos__,
    complex: complex.__pos__,
    Decimal: Decimal,
    datetime: lambda value: datetime.combine(datetime.date(value), datetime.timetz(value)),
    date: lambda value: date.fromordinal(date.toordinal(value)),
    time: lambda value: time(*time.__reduce_ex__(value, 4)[1]),
    timedelta: timedelta.__pos__,
}
