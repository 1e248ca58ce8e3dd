"""Lists of floats as raw float32 or float64, for vectors that come as lists.

Little endian, and one byte at the end that says how many bytes an item has (4 or 8); at the end, so
that an array over the bytes is aligned. float32 keeps every item to a relative error of 2**-24
(below 6e-8); a list that it cannot keep so well, because an item is too great or too close to zero,
is stored as float64, which is exact.
"""

from __future__ import annotations

import struct
import sys
from array import array
from typing import Any, Final

import msgspec

from cascada.codecs.arrays import numpy_wanted
from cascada.model.errors import CorruptEntry

_SMALLEST_NORMAL: Final = 2.0**-126
_FLOAT_MARK: Final = b"\xcb"
_encode = msgspec.msgpack.Encoder().encode


def pack_floats(values: list[Any], *, exact: bool) -> bytes | None:
    """The list's bytes; None if anything in it is not exactly a float."""
    packed = _packed(values) if type(values[0]) is float else None
    if packed is None:
        return None
    count = len(values)
    if not exact:
        if (usual := _usual(packed, count)) is not None:
            return usual + b"\x04"
        try:
            raw = struct.pack(f"<{count}f", *values)
        except OverflowError:
            pass
        else:
            if not _near_zero(raw, values):
                return raw + b"\x04"
    return struct.pack(f"<{count}d", *values) + b"\x08"


def unpack_floats(data: bytes, *, as_array: bool) -> Any:
    """The list, or a read-only array over `data`."""
    size = data[-1] if data else 0
    if size not in (4, 8) or len(data) % size != 1 or len(data) == 1:
        raise CorruptEntry(f"{len(data)} bytes are no list of floats")
    if as_array:
        return numpy_wanted().frombuffer(data, "<f4" if size == 4 else "<f8", len(data) // size)
    items = array("f" if size == 4 else "d", data[:-1])
    if sys.byteorder == "big":
        items.byteswap()
    return items.tolist()


def _packed(values: list[Any]) -> bytes | None:
    """The list in msgpack, if every item is a float; that takes a fifth of a look at each type.

    A float is a mark and 8 bytes in msgpack. If there is a mark at the start, and 9 bytes after
    each mark another one up to the end, then nothing else can lie in between.
    """
    try:
        packed = _encode(values)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None
    count = len(values)
    head = _head(count)
    marked = len(packed) == head + 9 * count and packed[head::9] == _FLOAT_MARK * count
    return packed if marked else None


def _head(count: int) -> int:
    return 1 if count < 16 else 3 if count < 65536 else 5


def _usual(packed: bytes, count: int) -> bytes | None:
    """As float32 by numpy, if it is there already: half the time of `struct`.

    None where something is near the ends of its range, which `struct` looks at closely.
    """
    numpy: Any = sys.modules.get("numpy")
    if numpy is None:
        return None
    doubles = numpy.ndarray((count,), ">f8", packed, _head(count) + 1, (9,))
    with numpy.errstate(all="ignore"):
        raw: bytes = doubles.astype("<f4").tobytes()
    tops = raw[3::4]
    return None if any(top in tops for top in (b"\x00", b"\x80", b"\x7f", b"\xff")) else raw


def _near_zero(raw: bytes, values: list[Any]) -> bool:
    # The byte with the upper exponent bits finds the few candidates, zero itself among them.
    tops = raw[3::4]
    if b"\x00" not in tops and b"\x80" not in tops:
        return False
    return any(0.0 < abs(value) < _SMALLEST_NORMAL for value in values)
