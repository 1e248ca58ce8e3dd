"""Arrays and tensors as raw bytes; back as read-only arrays, or as nested lists without numpy.

The items' bytes come first, in C order, so that a decoded array is aligned and needs no copy.
What they are follows: each dimension (u64), the dtype in numpy's notation (ASCII), the number of
dimensions (u8) and the length of the dtype (u8).

numpy is told by duck type, and imported only to hand out an array.
"""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Iterator
from functools import cache, lru_cache
from importlib import import_module
from math import prod
from typing import Any, Final

from cascada.codecs.shapes import Unstorable
from cascada.model.errors import CorruptEntry, MissingExtra

# Fixed size, no Python objects, no fields, the same on every machine.
_DTYPE: Final = re.compile(r"\|b1|[<>|](?:[iu][1248]|f[248]|c(?:8|16)|S\d+|U\d+|[mM]8(?:\[\w+\])?)")
_STRUCT_CODES: Final = {
    "b1": "?", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I",
    "u8": "Q", "f2": "e", "f4": "f", "f8": "d",
}  # fmt: skip
_MAX_EMPTY_ROWS: Final = 65536


@cache
def numpy_if_there() -> Any:
    """The numpy module, or None."""
    try:
        return import_module("numpy")
    except ImportError:
        return None


def is_array(value: object) -> bool:
    """Whether it looks like an array (numpy and its kin) or a tensor (PyTorch, TensorFlow)."""
    return (
        hasattr(value, "dtype")
        and hasattr(value, "shape")
        and (hasattr(value, "tobytes") or hasattr(value, "numpy"))
    )


def pack_array(value: Any) -> bytes:
    """The array's bytes; Unstorable says why there are none."""
    array = _array_of(value)
    raw: bytes = array.tobytes()
    return raw + _trailer(_notation(array), tuple(array.shape))


def is_storable(value: Any) -> bool:
    """Whether it is an array whose items have bytes."""
    try:
        return is_array(value) and _DTYPE.fullmatch(_notation(_array_of(value))) is not None
    except Unstorable:
        return False


def _notation(array: Any) -> str:
    return getattr(array.dtype, "str", None) or str(array.dtype)


def unpack_array(data: bytes) -> Any:
    """A read-only array over `data`; nested lists where numpy is not installed."""
    size = 2 + 8 * data[-2] + data[-1]
    dtype, shape, length = _layout(data[-size:])
    if length + size != len(data):
        raise CorruptEntry(f"an array of {length} bytes has {len(data) - size}")
    numpy = numpy_if_there()
    if numpy is None:
        return _as_lists(data, dtype, shape)
    if len(shape) == 1 and shape[0]:
        return numpy.frombuffer(data, dtype, shape[0])
    return numpy.ndarray(shape, dtype, data)


def array_of_list(value: Any, dtype: Any = None) -> Any:
    """A read-only array with the numbers of a (nested) list; MissingExtra without numpy."""
    array = numpy_wanted().array(value, dtype)
    if array.dtype.kind not in "biuf":
        raise CorruptEntry("an array was asked for, and the entry holds no list of numbers")
    return numpy_wanted().ndarray(array.shape, array.dtype, array.tobytes())


def _array_of(value: Any) -> Any:
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        if isinstance(value, numpy.generic):
            raise Unstorable(f"is a numpy.{type(value).__name__}, a scalar; pass its .item()")
        if isinstance(value, numpy.ndarray):
            if type(value) is not numpy.ndarray:
                raise Unstorable(
                    f"is a {type(value).__name__}, which would come back as a plain array; "
                    "pass numpy.asarray of it"
                )
            return value
    try:
        if hasattr(value, "detach"):
            return value.detach().cpu().numpy()
        return value if hasattr(value, "tobytes") else value.numpy()
    except (TypeError, ValueError, RuntimeError) as error:
        raise Unstorable(
            f"is a tensor of {value.dtype} that numpy cannot hold; pass it as float32"
        ) from error


@lru_cache(maxsize=256)
def _trailer(dtype: str, shape: tuple[int, ...]) -> bytes:
    if _DTYPE.fullmatch(dtype) is None:
        raise Unstorable(
            f"is an array of dtype {dtype}, which has no portable bytes (bfloat16, objects and "
            "records have none); pass it as float32, or as a list"
        )
    if _rows_of_nothing(shape):
        raise Unstorable(f"is an array without items, of the shape {shape}; pass its shape alone")
    notation = dtype.encode()
    return struct.pack(f"<{len(shape)}Q", *shape) + notation + bytes((len(shape), len(notation)))


def _rows_of_nothing(shape: tuple[int, ...]) -> bool:
    """Whether it has no bytes, and would become millions of lists all the same."""
    return 0 in shape and prod(shape[: shape.index(0)]) > _MAX_EMPTY_ROWS


# Keyed by the trailer: the vectors of one model all have the same.
@lru_cache(maxsize=256)
def _layout(trailer: bytes) -> tuple[Any, tuple[int, ...], int]:
    dimensions, notation = trailer[-2], trailer[-2 - trailer[-1] : -2].decode("ascii")
    if _DTYPE.fullmatch(notation) is None:
        raise CorruptEntry(f"an array has the unknown dtype {notation!r}")
    shape = struct.unpack_from(f"<{dimensions}Q", trailer)
    if _rows_of_nothing(shape):
        raise CorruptEntry(f"an array without items has the shape {shape}")
    numpy = numpy_if_there()
    digits = re.match(r"\d+", notation[2:])
    size = int(digits.group()) if digits else 0
    size *= 4 if notation[1] == "U" else 1
    if not size:
        raise CorruptEntry(f"an array has the dtype {notation!r}, whose items have no bytes")
    return notation if numpy is None else numpy.dtype(notation), shape, size * prod(shape)


def _as_lists(data: bytes, dtype: str, shape: tuple[int, ...]) -> Any:
    code = _STRUCT_CODES.get(dtype[1:])
    if code is None:
        raise CorruptEntry(f"an array of dtype {dtype} needs numpy: install cascada[numpy]")
    order = ">" if dtype[0] == ">" else "<"
    return _nested(iter(struct.unpack_from(f"{order}{prod(shape)}{code}", data)), shape)


def _nested(items: Iterator[Any], shape: tuple[int, ...]) -> Any:
    if not shape:
        return next(items)
    return [_nested(items, shape[1:]) for _ in range(shape[0])]


def numpy_wanted() -> Any:
    """The numpy module; MissingExtra without it."""
    numpy = numpy_if_there()
    if numpy is None:
        raise MissingExtra("as_array=True needs numpy; install cascada[numpy]")
    return numpy
