"""The bytes that a shared tier stores for an entry: a header of fixed shape, then the payload.

Layout of version 1, little endian:

    offset  size  field
    0       2     magic, CA DA
    2       1     version of this layout
    3       1     codec of the payload (model.entry.Codec)
    4       2     flags (model.entry.Flag)
    6       4     CRC-32 of all that follows but the stamps, begun with codec and flags;
                  0 if not CHECKED
    10      8     created, in milliseconds since 1970, signed
    18      8     fresh until (soft expiry), likewise; the greatest number is never
    26      8     expires (hard expiry), likewise
    34      8     the writer's version, signed; the least number is none
    42      1     number of stamps
    43      2     number of dynamic names
    45      8 n   stamps
            ...   names: length in two bytes, UTF-8
            ...   payload, to the end

A stamp that is damaged is equal to none, so that its entry is a miss without any checksum; leaving
the stamps out lets a script put them in.

CHECKED and DYNAMIC_NAMES are facts about these bytes: `pack` sets them, `unpack` takes them off.
The low byte of the flags says how to read an entry, so an unknown bit there (as an unknown codec or
version) makes it unreadable; an unknown bit in the high byte is kept and passed on.

`unpack` raises CorruptEntry, and nothing else, whatever bytes it is given.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Final
from zlib import crc32

from cascada.model.entry import Codec, Entry, Flag
from cascada.model.errors import BadInput, CorruptEntry

MAGIC: Final = b"\xca\xda"
VERSION: Final = 1
STAMP_SIZE: Final = 8

_LEAD: Final = struct.Struct("<2sBBHI")
_META: Final = struct.Struct("<qqqqBH")
_HEADER: Final = struct.Struct("<2sBBHIqqqqBH")
_LENGTH: Final = struct.Struct("<H")

_NEVER: Final = 2**63 - 1
_NO_VERSION: Final = -(2**63)

# Plain ints: arithmetic with enum members costs a microsecond, more than all the rest.
_CHECKED: Final = int(Flag.CHECKED)
_NAMED: Final = int(Flag.DYNAMIC_NAMES)
_OF_THE_BYTES: Final = _CHECKED | _NAMED
_UNREADABLE: Final = 0xFF & ~sum(Flag)
_ODD: Final = _UNREADABLE | _NAMED
_LAST_CODEC: Final = int(max(Codec))


def pack(entry: Entry, stamps: Sequence[bytes] = ()) -> bytes:
    """The entry as bytes, its times rounded to milliseconds."""
    # struct would pad and cut stamps silently.
    if len(stamps) > 255 or (stamps and {*map(len, stamps)} != {STAMP_SIZE}):
        raise BadInput(_misfit(entry, stamps))
    before, after = pack_around(entry, len(stamps))
    return b"".join((before, *stamps, after))


def pack_around(entry: Entry, stamps: int) -> tuple[bytes, bytes]:
    """What stands before and after so many stamps, for a writer who learns them later."""
    names = entry.names
    flags = int(entry.flags) & ~_OF_THE_BYTES | (_CHECKED | _NAMED if names else _CHECKED)
    codec = int(entry.codec)
    version = entry.version
    if codec > _LAST_CODEC or flags & _UNREADABLE or version == _NO_VERSION:
        raise BadInput(_misfit(entry, ()))
    try:
        meta = _META.pack(
            _milliseconds(entry.created),
            _milliseconds(entry.fresh_until),
            _milliseconds(entry.expires),
            _NO_VERSION if version is None else version,
            stamps,
            len(names),
        )
        after = b"".join([*map(_name, names), entry.data]) if names else entry.data
        lead = _LEAD.pack(MAGIC, VERSION, codec, flags, _checksum(meta, after, codec, flags))
    except (struct.error, ValueError, OverflowError) as error:
        raise BadInput(_misfit(entry, ())) from error
    return lead + meta, after


def _checksum(meta: bytes, after: bytes, codec: int, flags: int) -> int:
    return crc32(after, crc32(meta, flags << 8 | codec))


STAMPS_AT: Final = 45
"""Where the stamps begin."""


def unpack_plain(blob: bytes, stamps: int) -> Entry | None:
    """The entry, if it has so many stamps, no names, and nothing odd; None: ask `unpack`."""
    try:
        (
            magic, layout, codec, flags, checksum,
            created, fresh_until, expires, version, stamp_count, name_count,
        ) = _HEADER.unpack_from(blob)  # fmt: skip
    except struct.error:
        return None
    odd = name_count or stamp_count != stamps or flags & _ODD or codec > _LAST_CODEC
    if odd or magic != MAGIC or layout != VERSION or not flags & _CHECKED:
        return None
    data = blob[45 + STAMP_SIZE * stamps :]
    if crc32(data, crc32(blob[10:45], flags << 8 | codec)) != checksum:  # `_checksum`, written out
        return None
    return Entry(
        data,
        codec,
        flags & ~_CHECKED,
        math.inf if created == _NEVER else created / 1000,
        math.inf if fresh_until == _NEVER else fresh_until / 1000,
        math.inf if expires == _NEVER else expires / 1000,
        (),
        None if version == _NO_VERSION else version,
    )


def unpack(blob: bytes) -> tuple[Entry, tuple[bytes, ...]]:
    """The entry and its stamps."""
    try:
        (
            magic, layout, codec, flags, checksum,
            created, fresh_until, expires, version, stamp_count, name_count,
        ) = _HEADER.unpack_from(blob)  # fmt: skip
        if magic != MAGIC or layout != VERSION:
            raise CorruptEntry(_unknown(magic, layout))
        end = 45
        stamps: tuple[bytes, ...] = ()
        if stamp_count:
            stamps = _stamps(stamp_count).unpack_from(blob, end)
            end += STAMP_SIZE * stamp_count
        names: tuple[str, ...] = ()
        if name_count:
            names, end = _names(blob, name_count, end)
    except struct.error as error:
        raise CorruptEntry(f"an entry of {len(blob)} bytes is cut off in its header") from error
    except UnicodeDecodeError as error:
        raise CorruptEntry("a name in an entry's header is no UTF-8") from error
    data = blob[end:]
    if flags & _CHECKED:
        after = data if not name_count else blob[45 + STAMP_SIZE * stamp_count :]
        if _checksum(blob[10:45], after, codec, flags) != checksum:
            raise CorruptEntry("the checksum of an entry does not match its bytes")
    elif checksum:
        raise CorruptEntry("an entry has a checksum, and says that it has none")
    if flags & _UNREADABLE or codec > _LAST_CODEC or (not name_count) == bool(flags & _NAMED):
        raise CorruptEntry(f"an entry has flags {flags:#x} and codec {codec}: unknown here")
    entry = Entry(
        data,
        codec,
        flags & ~_OF_THE_BYTES,
        math.inf if created == _NEVER else created / 1000,
        math.inf if fresh_until == _NEVER else fresh_until / 1000,
        math.inf if expires == _NEVER else expires / 1000,
        names,
        None if version == _NO_VERSION else version,
    )
    return entry, stamps


def _milliseconds(seconds: float) -> int:
    if seconds >= _NEVER / 1000:
        return _NEVER
    return round(seconds * 1000)


@lru_cache(maxsize=256)
def _stamps(count: int) -> struct.Struct:
    return struct.Struct(f"{STAMP_SIZE}s" * count)


def _name(name: str) -> bytes:
    encoded = name.encode()
    return _LENGTH.pack(len(encoded)) + encoded


def _names(blob: bytes, count: int, start: int) -> tuple[tuple[str, ...], int]:
    names = []
    for _ in range(count):
        (length,) = _LENGTH.unpack_from(blob, start)
        start += 2 + length
        if start > len(blob):
            raise CorruptEntry("an entry is cut off in its names")
        names.append(blob[start - length : start].decode())
    return tuple(names), start


def _unknown(magic: bytes, layout: int) -> str:
    if magic != MAGIC:
        return "these bytes are no entry of cascada's"
    return f"an entry has layout {layout}; this version of cascada reads {VERSION}"


def _misfit(entry: Entry, stamps: Sequence[bytes]) -> str:
    """Which bound of the header was broken, once one was."""
    version = entry.version
    times = (entry.created, entry.fresh_until, entry.expires)
    if version is not None and not _NO_VERSION < version <= _NEVER:
        return f"version is {version}; pass an int of 64 bits"
    if not all(time * 1000 > -_NEVER for time in times):
        return f"its times are {times}; pass seconds since 1970"
    if len(stamps) > 255:
        return f"it has {len(stamps)} stamps of at most 255"
    if any(len(stamp) != STAMP_SIZE for stamp in stamps):
        return f"a stamp is not {STAMP_SIZE} bytes long"
    if len(entry.names) > 65535:
        return f"it has {len(entry.names)} names of at most 65535"
    return "a name is longer than 65535 bytes or no text, or its codec or flags are unknown"
