"""The bytes that a shared tier stores for an entry: a header of fixed shape, then the payload.

Layout of version 1, little endian:

    offset  size  field
    0       2     magic, CA DA
    2       1     version of this layout
    3       4     CRC-32 of the facts, the names and the payload, begun with the entry's home
    7       4     CRC-32 of the times, begun with the one before
    11      8     created, in milliseconds since 1970, signed
    19      8     fresh until (soft expiry), likewise; the greatest number is never
    27      8     expires (hard expiry), likewise
    35      1     codec of the payload (model.entry.Codec)
    36      2     flags (model.entry.Flag)
    38      8     the writer's version, signed; 0 if not VERSIONED
    46      2     number of stamps
    48      2     number of dynamic names
    50      8 n   stamps
            ...   names: length in two bytes, UTF-8
            ...   if COSTED: what its load took, length in one byte, then that many
            ...   payload, to the end

The home is where the bytes lie (`home_of`): what was copied to another key, tenant or namespace
reads as damaged there. The times have a checksum of their own, so that other times can be put in
their place (bytes 7 to 34) by who knows nothing of the payload but its checksum. Both checksums
together are the entry's `mark`: other bytes, another mark.

A stamp that is damaged is equal to none, so that its entry is a miss without any checksum; leaving
the stamps out lets a script put them in.

VERSIONED and COSTED are facts about these bytes: `pack` sets them, `unpack` takes them off. The low
byte of the flags says how to read an entry, so an unknown bit there (there is none any more), as an
unknown codec or version, makes it unreadable; one in the high byte is kept and passed on. So a
version of cascada that does not know COSTED yet misses what a load of this one has stored, and
loads it once more; what that stores, both read.

What a load took is the number of `bills.bill` less its highest field, as a whole number.

`unpack` raises CorruptEntry, and nothing else, whatever bytes it is given.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from hashlib import sha256
from math import inf
from typing import Final
from zlib import crc32

from cascada.model.bills.bill import SAID, TOO_MUCH, UNKNOWN
from cascada.model.entry import UNSET, Codec, Entry, Flag
from cascada.model.errors import BadInput, CorruptEntry

MAGIC: Final = b"\xca\xda"
VERSION: Final = 1
STAMP_SIZE: Final = 8
MAX_COUNT: Final = 2**16 - 1
"""Stamps, or names, that the header can count: many more than an entry may bear (model.names)."""

MARK: Final = slice(3, 11)
"""Where the mark of an entry stands."""

CONTENT: Final = 4
"""Bytes of a mark that say what an entry holds, and nothing of its times."""

STAMP_COUNT: Final = slice(46, 48)
"""Where the number of stamps stands."""

STAMPS_AT: Final = 50
"""Where the stamps begin."""

home_of = crc32
"""What binds an entry to the place where it lies: all that names it there, in bytes. After it may
come the home of what stands before this in the place's name."""

_BEGINNING: Final = MAGIC + bytes([VERSION])
_SUMS: Final = struct.Struct("<II")
_TIMES: Final = struct.Struct("<qqq")
_FACTS: Final = struct.Struct("<BHqHH")
_HEADER: Final = struct.Struct("<3sIIqqqBHqHH")
_LENGTH: Final = struct.Struct("<H")
_unpack_header: Final = _HEADER.unpack_from
_TIMES_AT: Final = 11
_FACTS_AT: Final = 35

_NEVER: Final = 2**63 - 1
_END: Final = _NEVER / 1000

# Plain ints: arithmetic with enum members costs a microsecond, more than all the rest.
_UNREADABLE: Final = 0xFF & ~sum(Flag)
_VERSIONED: Final = int(Flag.VERSIONED)
_COSTED: Final = int(Flag.COSTED)
_OF_THE_BYTES: Final = _VERSIONED | _COSTED
_LAST_CODEC: Final = int(max(Codec))


def pack(entry: Entry, home: int, stamps: Sequence[bytes] = ()) -> bytes:
    """The entry as bytes, its times rounded to milliseconds."""
    # struct would pad and cut stamps silently.
    if stamps and {*map(len, stamps)} != {STAMP_SIZE}:
        raise BadInput(f"a stamp is not {STAMP_SIZE} bytes long")
    before, after = pack_around(entry, home, len(stamps))
    return b"".join((before, *stamps, after))


def pack_around(entry: Entry, home: int, stamps: int) -> tuple[bytes, bytes]:
    """What stands before and after so many stamps, for a writer who learns them later."""
    names, created, fresh, expires = entry.names, entry.created, entry.fresh_until, entry.expires
    flags, codec, version = int(entry.flags) & ~_OF_THE_BYTES, int(entry.codec), entry.version
    if version is not None:
        flags |= _VERSIONED
    if entry.cost != UNKNOWN:
        flags |= _COSTED
    if codec > _LAST_CODEC or flags & _UNREADABLE:
        raise BadInput(_misfit(entry, stamps))
    try:
        facts = _FACTS.pack(codec, flags, version or 0, stamps, len(names))
        after = packed_names(names) + entry.data if names else entry.data
        if flags & _COSTED:
            after = b"".join((packed_names(names), _cost_packed(entry.cost), entry.data))
        times = _times(created, fresh, expires)
    except (struct.error, ValueError, OverflowError) as error:
        raise BadInput(_misfit(entry, stamps)) from error
    checksum = crc32(after, crc32(facts, home))
    return b"".join((_BEGINNING, _SUMS.pack(checksum, crc32(times, checksum)), times, facts)), after


def times_of(entry: Entry, mark: bytes) -> bytes:
    """What stands in bytes 7 to 34 of the entry with this mark, if it has the times of `entry`."""
    times = _times(entry.created, entry.fresh_until, entry.expires)
    checksum = mark[:CONTENT]
    return crc32(times, int.from_bytes(checksum, "little")).to_bytes(4, "little") + times


def _times(created: float, fresh: float, expires: float) -> bytes:
    return _TIMES.pack(
        _NEVER if created >= _END else round(created * 1000),
        _NEVER if fresh >= _END else round(fresh * 1000),
        _NEVER if expires >= _END else round(expires * 1000),
    )


def digest_of(entry: Entry) -> bytes:
    """16 bytes that are the same for entries that are equal (`Entry.equals`), and for no others."""
    flags = int(entry.flags) if entry.version is None else int(entry.flags) | _VERSIONED
    facts = _FACTS.pack(int(entry.codec), flags, entry.version or 0, 0, len(entry.names))
    # Of all strong ones the fastest over megabytes, which processors have instructions for.
    names = packed_names(entry.names) if entry.names else b""
    said = sha256(b"cascada entry 1" + facts + names, usedforsecurity=False)
    said.update(entry.data)
    return said.digest()[:16]


def _cost_packed(cost: int) -> bytes:
    number = cost & SAID
    size = (number.bit_length() + 7) // 8
    return bytes((size,)) + number.to_bytes(size, "little")


def packed_names(names: Sequence[str]) -> bytes:
    """Names as they stand in an entry."""
    parts: list[bytes] = []
    for name in names:
        encoded = name.encode()
        parts += (_LENGTH.pack(len(encoded)), encoded)
    return b"".join(parts)


def unpack(blob: bytes, home: int, names: tuple[str, ...] = (), packed: bytes = b"") -> Entry:
    """The entry that lies there.

    names: those that it bears, probably, and `packed`: they are read in one step if it does.
    """
    try:
        (
            beginning, checksum, of_times, created, fresh_until, expires,
            codec, flags, version, stamp_count, name_count,
        ) = _unpack_header(blob)  # fmt: skip
    except struct.error as error:
        raise CorruptEntry(f"an entry of {len(blob)} bytes is cut off in its header") from error
    if beginning != _BEGINNING:
        raise CorruptEntry(_unknown(beginning))
    end = STAMPS_AT + STAMP_SIZE * stamp_count
    data = blob[end:]
    # Before anything is believed of what it says: how long its names are, for one.
    if (
        crc32(data, crc32(blob[_FACTS_AT:STAMPS_AT], home)) != checksum
        or crc32(blob[_TIMES_AT:_FACTS_AT], checksum) != of_times
    ):
        raise CorruptEntry("an entry is damaged, or was written for another key")
    if flags & _UNREADABLE or codec > _LAST_CODEC or (version and not flags & _VERSIONED):
        raise CorruptEntry(f"an entry has flags {flags:#x} and codec {codec}: unknown here")
    if end > len(blob):
        raise CorruptEntry("an entry is cut off in its stamps")
    if name_count == len(names) and data.startswith(packed):
        start = len(packed)
    else:
        names, start = _names(data, name_count)
    cost = UNKNOWN
    if flags & _COSTED:
        cost, start = _cost(data, start)
    return Entry(
        data[start:] if start else data,
        codec,
        flags & ~_OF_THE_BYTES,
        inf if created == _NEVER else created / 1000,
        inf if fresh_until == _NEVER else fresh_until / 1000,
        inf if expires == _NEVER else expires / 1000,
        names,
        version if flags & _VERSIONED else None,
        UNSET,
        cost,
    )


def stamps_of(blob: bytes) -> tuple[bytes, ...]:
    """The stamps of what `unpack` has taken for an entry."""
    end = STAMPS_AT + STAMP_SIZE * int.from_bytes(blob[STAMP_COUNT], "little")
    return tuple([blob[at : at + STAMP_SIZE] for at in range(STAMPS_AT, end, STAMP_SIZE)])


def _names(data: bytes, count: int) -> tuple[tuple[str, ...], int]:
    """The names that the data begins with, and where they end."""
    names, start = [], 0
    try:
        for _ in range(count):
            (length,) = _LENGTH.unpack_from(data, start)
            start += 2 + length
            if start > len(data):
                raise CorruptEntry("an entry is cut off in its names")
            names.append(data[start - length : start].decode())
    except struct.error as error:
        raise CorruptEntry("an entry is cut off in its names") from error
    except UnicodeDecodeError as error:
        raise CorruptEntry("a name in an entry's header is no UTF-8") from error
    return tuple(names), start


def _cost(data: bytes, start: int) -> tuple[int, int]:
    """What the load took, said from there on, and where that ends."""
    end = start + 1 + data[start] if start < len(data) else len(data) + 1
    if end > len(data):
        raise CorruptEntry("an entry is cut off in what its load took")
    if end == start + 1 or not data[end - 1]:  # there is one form of each number
        raise CorruptEntry("an entry does not say what its load took as it should")
    cost = int.from_bytes(data[start + 1 : end], "little")
    if cost & TOO_MUCH:
        raise CorruptEntry("an entry says that its load took more than any does")
    return cost | UNKNOWN, end


def _unknown(beginning: bytes) -> str:
    if not beginning.startswith(MAGIC):
        return "these bytes are no entry of cascada's"
    return f"an entry has layout {beginning[2]}; this version of cascada reads {VERSION}"


def _misfit(entry: Entry, stamps: int) -> str:
    """Which bound of the header was broken, once one was."""
    version = entry.version
    times = (entry.created, entry.fresh_until, entry.expires)
    if version is not None and not -(2**63) <= version <= _NEVER:
        return f"version is {version}; pass an int of 64 bits"
    if not all(time * 1000 > -_NEVER for time in times):
        return f"its times are {times}; pass seconds since 1970"
    if stamps > MAX_COUNT:
        return f"it has {stamps} stamps of at most {MAX_COUNT}"
    if len(entry.names) > MAX_COUNT:
        return f"it has {len(entry.names)} names of at most {MAX_COUNT}"
    return "a name is longer than 65535 bytes or no text, or its codec or flags are unknown"
