"""Entries that are small, and would become very much."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import zstandard
from msgspec.msgpack import Ext, encode

from cascada.model.entry import Codec, Flag

PLAIN, PARTS, ARRAY = int(Codec.MSGPACK), int(Codec.EXTENDED), int(Codec.ARRAY)
MOD = 2**61 - 1  # whose multiples have the hash 0


def big_int(value: int) -> Ext:
    return Ext(4, value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True))


def list_of(count: int, item: bytes) -> bytes:
    return b"\xdd" + count.to_bytes(4, "big") + item * count


def squeezed(data: bytes) -> tuple[bytes, int]:
    return zstandard.ZstdCompressor().compress(data), int(Flag.COMPRESSED)


def nested(depth: int, inmost: bytes, code: int = 1) -> bytes:
    for _ in range(depth):
        body = b"\x91" + inmost
        inmost = b"\xc9" + len(body).to_bytes(4, "big") + bytes([code]) + body
    return inmost


def without_a_size() -> tuple[bytes, int]:
    compressor = zstandard.ZstdCompressor(write_content_size=False)
    return compressor.compress(b"\x93" + b"\x90" * 3), int(Flag.COMPRESSED)


def array(shape: tuple[int, ...], dtype: bytes = b"<f8") -> bytes:
    sizes = b"".join(size.to_bytes(8, "little") for size in shape)
    return sizes + dtype + bytes((len(shape), len(dtype)))


def tuples_alike(count: int) -> list[tuple[int, int]]:
    """Tuples of two numbers whose hashes are equal, made by turning Python's own rule round."""
    one, two, three = 11400714785074694791, 14029467366897019727, 2870177450012600261
    whole = 2**64
    back_one, back_two = pow(one, -1, whole), pow(two, -1, whole)

    def turned(acc: int, lane: int) -> int:
        acc = (acc + lane * two) % whole
        return ((acc << 31 | acc >> 33) % whole) * one % whole

    goal = turned(turned(three, 1), 2)
    rotated = goal * back_one % whole
    wanted = (rotated >> 31 | rotated << 33) % whole
    found: list[tuple[int, int]] = []
    first = 0
    while len(found) < count:
        first += 1
        second = (wanted - turned(three, first)) * back_two % whole
        if second < 2**60:
            found.append((first, second))
    assert len({*map(hash, found)}) == 1
    return found


Bomb = Callable[[], tuple[bytes, int, int]]
BOMBS: dict[str, Bomb] = {
    "empty lists": lambda: (*squeezed(list_of(16 * 2**20, b"\x90")), PLAIN),
    "empty lists, less many": lambda: (*squeezed(list_of(600_000, b"\x90")), PLAIN),
    "empty dicts": lambda: (*squeezed(list_of(2**20, b"\x80")), PLAIN),
    "dicts of one": lambda: (*squeezed(list_of(2**20, b"\x81\x01\x01")), PLAIN),
    "dicts of dicts": lambda: (*squeezed(list_of(2**20, b"\x81\x01\x81\x01\x80")), PLAIN),
    "small numbers": lambda: (*squeezed(list_of(30 * 2**20, b"\x01")), PLAIN),
    "short texts": lambda: (*squeezed(list_of(10 * 2**20, b"\xa2ab")), PLAIN),
    "lists of lists": lambda: (*squeezed(list_of(100_000, b"\x9f" + b"\x90" * 15)), PLAIN),
    "extensions": lambda: (*squeezed(list_of(2**20, b"\xd4\x04\x01")), PARTS),
    "tuples": lambda: (*squeezed(list_of(2**20, b"\xd4\x01\x90")), PARTS),
    "what serializers make": lambda: (*squeezed(list_of(2**20, b"\x90")), int(Codec.CUSTOM)),
    "more than may be": lambda: (*squeezed(b"\xc6\x08\x00\x00\x00" + bytes(2**27)), PLAIN),
    "no size": lambda: (*without_a_size(), PLAIN),
    "lists in extensions": lambda: (nested(50, list_of(8 * 2**20, b"\x90")), 0, PARTS),
    "lists in lists": lambda: (b"\x91" * 10**6 + b"\x90", 0, PLAIN),
    "extensions in extensions": lambda: (nested(500, b"\x90" + bytes(10)), 0, PARTS),
    "set of numbers alike": lambda: (alike_in(2), 0, PARTS),
    "frozenset of numbers alike": lambda: (alike_in(3), 0, PARTS),
    "keys alike": lambda: (encode(Ext(13, encode([
        part for k in range(20_000) for part in (big_int(k * MOD), 1)]))), 0, PARTS),
    "decimals alike": lambda: (encode(Ext(2, encode([
        Ext(5, str(Decimal(k * MOD)).encode()) for k in range(20_000)]))), 0, PARTS),
    "ids alike": lambda: (encode(Ext(2, encode([
        Ext(6, (k * MOD).to_bytes(16, "big")) for k in range(20_000)]))), 0, PARTS),
    "tuples alike": lambda: (encode(Ext(2, encode([
        Ext(1, encode(each)) for each in tuples_alike(20_000)]))), 0, PARTS),
    "keys of a plain dict alike": lambda: (encode(dict.fromkeys(tuples_alike(5_000), 1)), 0, PLAIN),
    "keys that are extensions": lambda: (b"\xde\x27\x10" + b"".join(
        encode(big_int(k * MOD)) + b"\x01" for k in range(10_000)), 0, PARTS),
    "rows of nothing": lambda: (array((10**7, 0)), 0, ARRAY),
    "deep rows of nothing": lambda: (array((10**4, 10**4, 0)), 0, ARRAY),
    "items of nothing": lambda: (array((10**9,), b"<U0"), 0, ARRAY),
    "an endless array": lambda: (array((2**63, 2**63)), 0, ARRAY),
}  # fmt: skip


def alike_in(code: int) -> bytes:
    return encode(Ext(code, encode([big_int(k * MOD) for k in range(20_000)])))


def endless() -> Any:
    value: Any = 1
    for _ in range(40):
        value = [value, value]
    return value


def looped() -> Any:
    value: Any = []
    value += [value, (value,)]
    return value
