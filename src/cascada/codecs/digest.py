"""Ids for things that have none: a hash of what identifies them.

Every part is written with a tag for its type and its length before it, so no two different lists of
parts have the same text: `("ab", "c")` is not `("a", "bc")`, 1 is not "1", True or 1.0, and a list
is not a tuple. Dicts, sets and named parts are sorted by their bytes. Nothing in it depends on the
process, the machine or the version of Python; classes count by their name, not by their module.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from hashlib import blake2b
from typing import Any, Final
from uuid import UUID

from cascada.codecs.hints import name_of
from cascada.codecs.shapes import fields_of
from cascada.model.errors import BadInput

_SIZE: Final = struct.Struct("<Q")
_DOUBLE: Final = struct.Struct("<d")


def generate_resource_id_hash(*parts: Any, **named: Any) -> str:
    """32 hexadecimal characters that stand for these parts; BadInput names a type it cannot take.

    Parts are None, bool, numbers, str, bytes, list, tuple, dict, set, UUID, dates, times, enum
    members, dataclasses, structs and models, nested as you like.
    """
    try:
        text = _tagged(b"H", _listed(map(_text, parts)), _pairs(named))
    except RecursionError as error:
        raise BadInput("a part holds itself, or is nested too deeply, to be hashed") from error
    return blake2b(text, digest_size=16, person=b"cascada id 1").hexdigest()


def _text(value: Any) -> bytes:  # noqa: C901, PLR0912 - one case for each type
    match value:
        case None:
            return _tagged(b"N")
        case Enum():  # before str and int, which a member may be as well
            return _tagged(b"E", _text(type(value).__qualname__), _text(value.value))
        case bool():
            return _tagged(b"B", b"1" if value else b"0")
        case int():
            return _tagged(b"I", value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True))
        case float():
            return _tagged(b"F", b"nan" if value != value else _DOUBLE.pack(value))
        case complex():
            return _tagged(b"Z", _text(value.real), _text(value.imag))
        case str():
            return _tagged(b"S", str(value).encode("utf-8", "surrogatepass"))
        case bytes():
            return _tagged(b"Y", value)
        case list():
            return _tagged(b"L", _listed(map(_text, value)))
        case tuple():
            return _tagged(b"T", _listed(map(_text, value)))
        case set() | frozenset():
            return _tagged(b"X", _listed(sorted(map(_text, value))))
        case dict():
            return _tagged(b"D", _pairs(value))
        case UUID():
            return _tagged(b"U", value.bytes)
        case Decimal():
            return _tagged(b"C", str(value).encode())
        case datetime() | date() | time():
            return _tagged(b"W", type(value).__name__.encode(), value.isoformat().encode())
        case timedelta():
            return _tagged(b"P", _text((value.days, value.seconds, value.microseconds)))
    fields = fields_of(value)
    if fields is None:
        raise BadInput(
            f"a {name_of(type(value))} cannot be part of an id; pass str, int, UUID, a dataclass, "
            "a model, or a list or dict of such"
        )
    present = {name: getattr(value, name) for name in fields if hasattr(value, name)}
    return _tagged(b"O", _text(type(value).__qualname__), _pairs(present))


def _tagged(tag: bytes, *contents: bytes) -> bytes:
    return tag + b"".join([_SIZE.pack(len(content)) + content for content in contents])


def _listed(texts: Iterable[bytes]) -> bytes:
    return b"".join([_SIZE.pack(len(text)) + text for text in texts])


def _pairs(items: dict[Any, Any]) -> bytes:
    return _listed(sorted(_listed((_text(key), _text(value))) for key, value in items.items()))
