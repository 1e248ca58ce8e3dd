"""How much one value may be, known before anything is made of it.

The length in bytes says little. 543 bytes decompress to 16 MiB of empty lists, which take 1.2 GB of
memory. An object of 40 lists, each of which holds the next one twice, is written as a trillion of
them. So parts are counted, when a value is stored and when it is read: what would not be read is
not stored.

The codec (`codecs/values.py`) asks here before it encodes or decodes. When it decodes there are
only bytes. Short ones are let through: they can become nothing bad. In longer ones, the bytes that
may begin a part are counted first, in C. Floats and texts hold such bytes, too; so only if there
are many of them, the text is followed from item to item, as msgpack says how long each one is.
Nothing is decoded here but a key of a dict, whose hash is needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from itertools import repeat
from typing import Any, Final

import msgspec

from cascada.codecs.shapes import TooMany, fields_of
from cascada.model.errors import CorruptEntry

MAX_PARTS: Final = 250_000
"""Lists, dicts, and all that is no plain scalar, in one value."""

MAX_ITEMS: Final = 5_000_000
"""Items in all of those together."""

MAX_ALIKE: Final = 32
"""Elements of one set, or keys of one dict, that have the same hash: each is compared with all of
them, so that 20,000 take 12 seconds. (-1 and -2 have one hash, and so tuples of them.)"""

MAX_LEVELS: Final = 500
"""Levels of a plain value, though Python's own bound is higher: it differs between versions, and
what one process stores another one has to be able to read."""

SHORT: Final = 16 * 1024
"""Bytes that can become nothing bad, whatever they are; so who decodes looks at longer ones only.
Each part takes one byte at least, so that these become 1 MB of empty lists at most."""

SCALARS: Final = frozenset({type(None), bool, int, float, str, bytes})
"""Types that msgpack gives back as they are, and that hold nothing else."""

_DEEPEST: Final = 2000
_FEW: Final = 2000
_CHUNK: Final = 64 * 1024

_COLLECTIONS: Final = (list, tuple, set, frozenset)

# Of msgpack: bytes that begin a list, a dict or an extension.
_HEADS: Final = bytes(
    [*range(0x80, 0xA0), *range(0xC7, 0xCA), *range(0xD4, 0xD9), *range(0xDC, 0xE0)]
)
_OF_ODD_KEYS: Final = bytes(first for first in _HEADS if first >= 0x90 and first < 0xDE)
_PAYLOAD_IS_A_VALUE: Final = (1, 2, 3, 13)  # of extensions; see codecs/extended.py


def survey(value: Any) -> bool:  # noqa: C901 - one loop over all parts, for its speed
    """Whether all of `value` is plain: of types that msgpack gives back as they are, and not deep.

    TooMany if it holds more parts or items than may be. This is the only look at every type before
    something is encoded, and most of what encoding costs: so its loops are written out.
    """
    is_plain, parts, items = True, 0, 0
    level = [value]
    for depth in range(_DEEPEST):  # what is deeper is not gone into: nothing writes it
        below: list[Any] = []
        for part in level:
            kind, inside = type(part), part
            if kind is dict:
                inside = part.values()
                items += len(part)  # its keys
                for key in part:
                    if type(key) not in SCALARS:
                        below.append(key)
            elif kind is not list:
                is_plain = False
                if kind not in _COLLECTIONS:
                    inside = [getattr(part, name, None) for name in fields_of(part) or ()]
            parts += 1
            items += len(inside)
            if parts > MAX_PARTS or items > MAX_ITEMS:
                raise TooMany(
                    f"holds itself, or more than {MAX_PARTS} lists, dicts and the like, or "
                    f"{MAX_ITEMS} items; pass it in parts, or numbers as an array"
                )
            for item in inside:
                if type(item) not in SCALARS:
                    below.append(item)
        if not below:
            return is_plain and depth < MAX_LEVELS
        level = below
    return False


def alike(elements: Collection[Any]) -> bool:
    """Whether too many of these have one hash."""
    if len(elements) <= MAX_ALIKE:
        return False
    hashes = [*map(hash, elements)]
    if len(hashes) - len(set(hashes)) < MAX_ALIKE:
        return False
    return Counter(hashes).most_common(1)[0][1] > MAX_ALIKE


def check_packed(data: bytes) -> None:
    """CorruptEntry if msgpack's bytes would become more than may be."""
    if len(data) <= SHORT:
        return
    with suppress(IndexError):  # cut off, as the decoder will say
        if len(data) > MAX_ITEMS or _has_over(data, MAX_PARTS, _HEADS):
            _count(data)
        has_large_dicts = b"\xde" in data or b"\xdf" in data
        if has_large_dicts and _has_over(data, _FEW, _OF_ODD_KEYS):
            _walk(data)


def _has_over(data: bytes, most: int, heads: bytes) -> bool:
    """Whether more than so many bytes could begin a part; those of texts and floats could, too."""
    found = 0
    for start in range(0, len(data), _CHUNK):
        chunk = data[start : start + _CHUNK]
        found += len(chunk) - len(chunk.translate(None, heads))
        if found > most:
            return True
    return False


def _count(data: bytes) -> None:
    """Refuse too many parts or items, going from one to the next wherever they lie."""
    sizes, part_at = _SIZES, _PART_AT
    place, end, parts, items = 0, len(data), 0, 0
    while place < end:
        for _ in repeat(None, _CHUNK):
            first = data[place]
            parts += part_at[first]
            if size := sizes[first]:
                place += size
            elif first in _LENGTHS:
                place = _after_text(data, place, _LENGTHS[first])
            elif first in _EXTENSIONS:
                start, length, _ = _extension(data, place)
                place = start + length
            else:
                width = _WIDTHS[first]
                count = int.from_bytes(data[place + 1 : place + 1 + width], "big")
                _bound(parts, items + count)
                place += 1 + width
                if first in (0xDC, 0xDD) and (run := _run(data, place, count)):
                    items += count
                    parts += count if data[place] in (0x80, 0x90) else 0
                    place += run
            if place >= end:
                break
        items += _CHUNK
        _bound(parts, items - _CHUNK)


def _after_text(data: bytes, place: int, width: int) -> int:
    return place + 1 + width + int.from_bytes(data[place + 1 : place + 1 + width], "big")


def _extension(data: bytes, place: int) -> tuple[int, int, bool]:
    """Where an extension's payload goes on, its bytes that are no value, and whether it is one."""
    fixed, width = _EXTENSIONS[data[place]]
    length = fixed or int.from_bytes(data[place + 1 : place + 1 + width], "big")
    is_value = data[place + 1 + width] in _PAYLOAD_IS_A_VALUE
    return place + 2 + width, 0 if is_value else length, is_value


def _walk(data: bytes) -> None:  # noqa: C901 - one loop over a format, for its speed
    """Refuse a dict with too many keys of one hash that are no plain scalars."""
    sizes = _SIZES
    place, left, in_dict, key_at = 0, 1, False, -1
    hashes: list[int] = []
    above: list[tuple[int, bool, int, list[int]]] = []
    while True:
        while left:
            first = data[place]
            left -= 1
            is_key = in_dict and left % 2 == 1
            if first in _LENGTHS:
                place = _after_text(data, place, _LENGTHS[first])
                continue
            if first in _EXTENSIONS:
                place, length, is_value = _extension(data, place)
                place += length
                if is_key:
                    hashes.append(0)  # what it will be is not known here, and none is written
                if not is_value:
                    continue
                count, of_dict, start = 1, False, -1
            elif 0x80 <= first < 0xA0 or first in _WIDTHS:
                of_dict = first < 0x90 or first in (0xDE, 0xDF)
                start = place if is_key else -1
                width = _WIDTHS.get(first, 0)
                count = int.from_bytes(data[place + 1 : place + 1 + width], "big")
                count = (count if width else first & 0x0F) * (2 if of_dict else 1)
                place += 1 + width
                if count > 64 and not of_dict and (run := _run(data, place, count)):
                    place, count = place + run, 0
            else:
                place += sizes[first] or 1
                continue
            above.append((left, in_dict, key_at, hashes))
            left, in_dict, key_at, hashes = count, of_dict, start, []
        if not above:
            return
        if len(hashes) > MAX_ALIKE and Counter(hashes).most_common(1)[0][1] > MAX_ALIKE:
            raise CorruptEntry(f"a dict has more than {MAX_ALIKE} keys of one hash")
        ended = key_at
        left, in_dict, key_at, hashes = above.pop()
        if ended >= 0:
            with suppress(Exception):  # the decoder will say it
                # As a key, since the decoder makes tuples of lists there.
                (key,) = msgspec.msgpack.decode(b"\x81" + data[ended:place] + b"\xc0")
                hashes.append(hash(key))


def _bound(parts: int, items: int) -> None:
    if parts > MAX_PARTS or items > MAX_ITEMS:
        raise CorruptEntry(
            f"an entry would become more than {MAX_PARTS} parts or {MAX_ITEMS} items"
        )


def _run(data: bytes, place: int, count: int) -> int:
    """The bytes of a list's items, if they are all floats, small numbers, or empty; else 0."""
    first = data[place]
    if first == 0xCB:
        return 9 * count if data[place : place + 9 * count : 9] == b"\xcb" * count else 0
    run = data[place : place + count]
    alone = run.isascii() or (first in (0x80, 0x90) and run.count(first) == count)
    return count if alone and len(run) == count else 0


_LENGTHS: Final = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_WIDTHS: Final = {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}
_EXTENSIONS: Final = {
    0xC7: (0, 1), 0xC8: (0, 2), 0xC9: (0, 4),
    0xD4: (1, 0), 0xD5: (2, 0), 0xD6: (4, 0), 0xD7: (8, 0), 0xD8: (16, 0),
}  # fmt: skip


def _size(first: int) -> int:
    """The bytes of an item that begins so; 0 where they are not known by that."""
    if first < 0x80 or first >= 0xE0 or first in (0xC0, 0xC1, 0xC2, 0xC3):
        return 1
    if 0x80 <= first < 0xA0:  # dicts and lists of fewer than 16, without what is in them
        return 1
    if 0xA0 <= first < 0xC0:
        return 1 + (first & 0x1F)
    return _NUMBERS.get(first, 0)


_NUMBERS: Final = {
    0xCA: 5, 0xCB: 9, 0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9, 0xD0: 2, 0xD1: 3, 0xD2: 5, 0xD3: 9,
}  # fmt: skip
_SIZES: Final = [*map(_size, range(256))]
_PART_AT: Final = [int(first in _HEADS) for first in range(256)]
