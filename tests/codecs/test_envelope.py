"""An entry's bytes: they come back to the millisecond, and damage never goes unnoticed."""

import math
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascada.codecs.envelope import MAGIC, pack, pack_around, unpack
from cascada.model.entry import UNSET, Codec, Entry, Flag
from cascada.model.errors import BadInput, CorruptEntry

FIELDS = ("data", "codec", "flags", "created", "fresh_until", "expires", "names", "version")

_times = st.just(math.inf) | st.integers(-(10**12), 10**15).map(lambda ms: ms / 1000)
_names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
entries = st.builds(
    Entry,
    st.binary(max_size=200),
    st.sampled_from(list(Codec)),
    st.sampled_from([0, Flag.ABSENT, Flag.ABSENT | Flag.GENERATOR_ASKED, Flag.COMPRESSED, 0x100]),
    _times,
    _times,
    _times,
    st.lists(_names, max_size=4).map(tuple),
    st.none() | st.integers(-(2**63) + 1, 2**63 - 1),
)
stamps = st.lists(st.binary(min_size=8, max_size=8), max_size=13).map(tuple)

SAMPLES = {
    "small": (Entry(b"\x01", Codec.MSGPACK), ()),
    "absence": (Entry(b"", Codec.NOTHING, Flag.ABSENT, 1.5, 2.5, 3.5), (b"epochepo",)),
    "full": (
        Entry(
            b"payload of some bytes",
            Codec.EXTENDED,
            Flag.COMPRESSED,
            1_700_000_000.123,
            1_700_000_300.0,
            1_700_003_600.0,
            ("#:acme:news", "p:acme:agent:ñ"),
            -7,
        ),
        (b"12345678", b"abcdefgh", b"\x00" * 8),
    ),
}


def known(entry: Entry) -> tuple[Any, ...]:
    return tuple(getattr(entry, field) for field in FIELDS)


@given(entries, stamps)
def test_an_entry_comes_back_as_it_was(entry: Entry, stamp: tuple[bytes, ...]) -> None:
    again, stamped = unpack(pack(entry, stamp))
    assert known(again) == known(entry)
    assert stamped == stamp
    assert again.value is UNSET


@given(st.floats(0, 1e10))
def test_times_come_back_to_the_nearest_millisecond(seconds: float) -> None:
    again, _ = unpack(pack(Entry(b"", created=seconds)))
    assert abs(again.created - seconds) <= 0.0005 + 2e-6  # and the width of a float
    assert known(unpack(pack(again))[0]) == known(again)


def test_version_none_is_not_version_zero() -> None:
    assert unpack(pack(Entry(b"", version=None)))[0].version is None
    assert unpack(pack(Entry(b"", version=0)))[0].version == 0


def test_an_expiry_beyond_all_time_is_never() -> None:
    assert unpack(pack(Entry(b"", expires=1e300)))[0].expires == math.inf


def test_facts_about_the_bytes_are_not_facts_about_the_entry() -> None:
    entry = Entry(b"x", flags=Flag.CHECKED | Flag.DYNAMIC_NAMES)
    blob = pack(entry)
    assert struct.unpack_from("<H", blob, 4)[0] == Flag.CHECKED
    assert unpack(blob)[0].flags == 0


@pytest.mark.parametrize("name", SAMPLES)
def test_every_truncation_is_corrupt(name: str) -> None:
    blob = pack(*SAMPLES[name])
    for length in range(len(blob)):
        with pytest.raises(CorruptEntry):
            unpack(blob[:length])
    with pytest.raises(CorruptEntry):
        unpack(blob + b"\x00")


@pytest.mark.parametrize("name", SAMPLES)
def test_every_change_of_one_byte_is_corrupt(name: str) -> None:
    entry, stamp = SAMPLES[name]
    blob = pack(entry, stamp)
    stamps = range(45, 45 + 8 * len(stamp))
    for position in range(len(blob)):
        for change in range(1, 256):
            damaged = bytearray(blob)
            damaged[position] ^= change
            if position in stamps:  # a script writes them: unequal to any other, they say enough
                assert unpack(bytes(damaged))[1] != stamp
                continue
            with pytest.raises(CorruptEntry):
                unpack(bytes(damaged))


@pytest.mark.parametrize("name", SAMPLES)
def test_stamps_can_be_put_in_later(name: str) -> None:
    entry, stamp = SAMPLES[name]
    before, after = pack_around(entry, len(stamp))
    assert before + b"".join(stamp) + after == pack(entry, stamp)


@given(st.binary(max_size=300))
def test_any_bytes_are_an_entry_or_corrupt(blob: bytes) -> None:
    with pytest.raises(CorruptEntry):
        unpack(blob)


@given(st.binary(min_size=35, max_size=300), st.integers(0, 2**16 - 1), st.integers(0, 255))
def test_any_bytes_with_a_right_checksum_are_an_entry_or_corrupt(
    rest: bytes, flags: int, codec: int
) -> None:
    flags |= Flag.CHECKED
    checked = rest[:35] + rest[35 + 8 * rest[32] :]  # all but the stamps
    checksum = zlib.crc32(checked, flags << 8 | codec)
    blob = struct.pack("<2sBBHI", MAGIC, 1, codec, flags, checksum) + rest
    try:
        entry, stamp = unpack(blob)
    except CorruptEntry:
        return
    assert pack(entry, stamp) == blob


def header(layout: int = 1, codec: int = 1, flags: int = Flag.CHECKED) -> bytes:
    rest = struct.pack("<qqqqBH", 0, 0, 0, 0, 0, 0) + b"\xc0"
    checksum = zlib.crc32(rest, flags << 8 | codec) if flags & Flag.CHECKED else 0
    return struct.pack("<2sBBHI", MAGIC, layout, codec, flags, checksum) + rest


@pytest.mark.parametrize(
    "blob",
    [header(layout=2), header(codec=99), header(flags=Flag.CHECKED | 64), header(flags=128)],
    ids=["layout", "codec", "critical flag", "critical flag, unchecked"],
)
def test_what_a_future_version_wrote_is_corrupt(blob: bytes) -> None:
    with pytest.raises(CorruptEntry):
        unpack(blob)


def test_a_future_flag_that_need_not_be_known_is_passed_on() -> None:
    entry, _ = unpack(header(flags=Flag.CHECKED | 0x8000))
    assert entry.flags == 0x8000
    assert pack(entry) == header(flags=Flag.CHECKED | 0x8000)


def test_an_entry_without_checksum_is_read() -> None:
    assert unpack(header(flags=0))[0].data == b"\xc0"


@pytest.mark.parametrize(
    ("entry", "stamp", "says"),
    [
        (Entry(b"", version=2**63), (), "version is 9223372036854775808"),
        (Entry(b"", version=-(2**63)), (), "version is -9223372036854775808"),
        (Entry(b"", created=math.nan), (), "seconds since 1970"),
        (Entry(b"", expires=-math.inf), (), "seconds since 1970"),
        (Entry(b""), (b"short",), "8 bytes"),
        (Entry(b""), (b"7 bytes", b"9 bytes.."), "8 bytes"),
        (Entry(b""), (b"12345678",) * 256, "at most 255"),
        (Entry(b"", names=("n",) * 65536), (), "at most 65535"),
        (Entry(b"", names=("n" * 65536,)), (), "longer than 65535"),
        (Entry(b"", names=("\ud800",)), (), "no text"),
        (Entry(b"", codec=6), (), "codec"),
        (Entry(b"", flags=64), (), "flags"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(
    entry: Entry, stamp: tuple[bytes, ...], says: str
) -> None:
    with pytest.raises(BadInput, match=says):
        pack(entry, stamp)
