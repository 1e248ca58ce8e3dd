"""An entry's bytes: they come back to the millisecond, and damage never goes unnoticed."""

import math
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascada.codecs.envelope import (
    MAGIC,
    MARK,
    STAMPS_AT,
    digest_of,
    home_of,
    pack,
    pack_around,
    packed_names,
    stamps_of,
    unpack,
)
from cascada.model.bills.bill import (
    MOST_MONEY,
    MOST_TOKENS,
    UNKNOWN,
)
from cascada.model.bills.cost import Cost, packed
from cascada.model.entry import UNSET, Codec, Entry, Flag, priority_bits
from cascada.model.errors import BadInput, CorruptEntry
from cascada.model.policy import CachePriority
from cascada.testing.steps import COST

HOME = home_of(b"shop:v:acme:row:1")
FIELDS = ("data", "codec", "flags", "created", "fresh_until", "expires", "names", "version", "cost")

_times = st.just(math.inf) | st.integers(-(10**12), 10**15).map(lambda ms: ms / 1000)
_names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_costs = st.builds(
    packed,
    st.floats(0, 1e9),
    st.none()
    | st.builds(
        Cost,
        money=st.none() | st.decimals(0, MOST_MONEY, places=6),
        tokens_in=st.integers(2**20, MOST_TOKENS),
        tokens_out=st.integers(0, MOST_TOKENS),
        tokens_cached=st.integers(0, 2**20),
    ),
    st.just({}),
)
entries = st.builds(
    Entry,
    st.binary(max_size=200),
    st.sampled_from(list(Codec)),
    st.sampled_from([0, Flag.ABSENT, Flag.ABSENT | Flag.GENERATOR_ASKED, Flag.COMPRESSED, 0x100]),
    _times,
    _times,
    _times,
    st.lists(_names, max_size=4).map(tuple),
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.just(UNSET),
    _costs,
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
            cost=COST,
        ),
        (b"12345678", b"abcdefgh", b"\x00" * 8),
    ),
}


def known(entry: Entry) -> tuple[Any, ...]:
    return tuple(getattr(entry, field) for field in FIELDS)


@given(entries, stamps)
def test_an_entry_comes_back_as_it_was(entry: Entry, stamp: tuple[bytes, ...]) -> None:
    blob = pack(entry, HOME, stamp)
    again = unpack(blob, HOME)
    assert known(again) == known(entry)
    assert stamps_of(blob) == stamp
    assert again.value is UNSET


@given(st.floats(0, 1e10))
def test_times_come_back_to_the_nearest_millisecond(seconds: float) -> None:
    again = unpack(pack(Entry(b"", created=seconds), HOME), HOME)
    assert abs(again.created - seconds) <= 0.0005 + 2e-6  # and the width of a float
    assert known(unpack(pack(again, HOME), HOME)) == known(again)


def test_version_none_is_not_version_zero() -> None:
    assert unpack(pack(Entry(b"", version=None), HOME), HOME).version is None
    assert unpack(pack(Entry(b"", version=0), HOME), HOME).version == 0


def test_an_expiry_beyond_all_time_is_never() -> None:
    assert unpack(pack(Entry(b"", expires=1e300), HOME), HOME).expires == math.inf


@pytest.mark.parametrize("name", SAMPLES)
def test_every_truncation_is_corrupt(name: str) -> None:
    entry, stamp = SAMPLES[name]
    blob = pack(entry, HOME, stamp)
    for length in range(len(blob)):
        with pytest.raises(CorruptEntry):
            unpack(blob[:length], HOME)
    with pytest.raises(CorruptEntry):
        unpack(blob + b"\x00", HOME)


@pytest.mark.parametrize("name", SAMPLES)
def test_every_change_of_one_byte_is_corrupt(name: str) -> None:
    entry, stamp = SAMPLES[name]
    blob = pack(entry, HOME, stamp)
    stamps = range(STAMPS_AT, STAMPS_AT + 8 * len(stamp))
    packed = packed_names(entry.names)
    for position in range(len(blob)):
        for change in range(1, 256):
            damaged = bytearray(blob)
            damaged[position] ^= change
            if position in stamps:  # a script writes them: unequal to any other, they say enough
                assert known(unpack(bytes(damaged), HOME)) == known(entry)
                assert stamps_of(bytes(damaged)) != stamp
                continue
            for hint in ((), (entry.names, packed)):
                with pytest.raises(CorruptEntry):
                    unpack(bytes(damaged), HOME, *hint)


@given(entries, stamps)
def test_who_knows_its_names_reads_the_same(entry: Entry, stamp: tuple[bytes, ...]) -> None:
    blob = pack(entry, HOME, stamp)
    names, packed = entry.names, packed_names(entry.names)
    assert known(unpack(blob, HOME, names, packed)) == known(entry)
    # Who is wrong about them as well.
    for others in ((*names, "more"), names[:-1], tuple(f"{name}!" for name in names)):
        assert known(unpack(blob, HOME, others, packed_names(others))) == known(entry)
    with pytest.raises(CorruptEntry):
        unpack(blob, HOME + 1, names, packed)


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize(
    "place", [b"", b"shop:v:acme:row:2", b"shop:v:evil:row:1", b"dev:v:acme:row:1"]
)
def test_an_entry_that_was_copied_elsewhere_is_corrupt_there(name: str, place: bytes) -> None:
    entry, stamp = SAMPLES[name]
    with pytest.raises(CorruptEntry, match="another key"):
        unpack(pack(entry, HOME, stamp), home_of(place))


@given(entries, stamps, _times, _times, _times)
def test_other_times_change_neither_the_payload_nor_its_checksum(
    entry: Entry, stamp: tuple[bytes, ...], created: float, fresh_until: float, expires: float
) -> None:
    """So that who gives an entry another life need not read or send it again."""
    before = pack(entry, HOME, stamp)
    entry.created, entry.fresh_until, entry.expires = created, fresh_until, expires
    after = pack(entry, HOME, stamp)
    assert before[:7] + after[7:35] + before[35:] == after
    assert (before[MARK] == after[MARK]) == (before == after)


@pytest.mark.parametrize("name", SAMPLES)
def test_stamps_can_be_put_in_later(name: str) -> None:
    entry, stamp = SAMPLES[name]
    before, after = pack_around(entry, HOME, len(stamp))
    assert before + b"".join(stamp) + after == pack(entry, HOME, stamp)


def test_more_stamps_and_names_than_one_byte_counts() -> None:
    entry = Entry(b"value", names=tuple(f"#:acme:{number}" for number in range(1024)))
    stamp = tuple(b"%08d" % number for number in range(1037))
    blob = pack(entry, HOME, stamp)
    again = unpack(blob, HOME)
    assert known(again) == known(entry)
    assert stamps_of(blob) == stamp


@given(st.binary(max_size=300))
def test_any_bytes_are_an_entry_or_corrupt(blob: bytes) -> None:
    with pytest.raises(CorruptEntry):
        unpack(blob, HOME)
    with pytest.raises(CorruptEntry):
        unpack(MAGIC + b"\x01" + blob, HOME)


def header(
    layout: int = 1,
    codec: int = 1,
    flags: int = 0,
    stamps: int = 0,
    names: int = 0,
    rest: bytes = b"\xc0",
    times: bytes = bytes(24),
    version: int = 0,
) -> bytes:
    """An entry whose checksums are right, whatever it says."""
    facts = struct.pack("<BHqHH", codec, flags, version, stamps, names)
    checksum = zlib.crc32(rest[8 * stamps :], zlib.crc32(facts, HOME))
    sums = struct.pack("<II", checksum, zlib.crc32(times, checksum))
    return MAGIC + bytes([layout]) + sums + times + facts + rest


@given(
    st.binary(max_size=200),
    st.integers(0, 2**16 - 1),
    st.integers(0, 255),
    st.sampled_from([0, 1, 2, 9, 255, 256, 65535]),
    st.sampled_from([0, 1, 2, 9, 255, 256, 65535]),
    st.tuples(*[st.integers(-(2**52), 2**52)] * 3).map(lambda times: struct.pack("<qqq", *times)),
)
def test_any_bytes_with_right_checksums_are_an_entry_or_corrupt(
    rest: bytes, flags: int, codec: int, stamps: int, names: int, times: bytes
) -> None:
    blob = header(1, codec, flags, stamps, names, rest, times)
    try:
        entry = unpack(blob, HOME)
    except CorruptEntry:
        return
    assert pack(entry, HOME, stamps_of(blob)) == blob


@pytest.mark.parametrize(
    "blob",
    [
        header(layout=2),
        header(codec=99),
        header(version=1),
    ],
    ids=["layout", "codec", "version"],
)
def test_what_a_future_version_wrote_is_corrupt(blob: bytes) -> None:
    with pytest.raises(CorruptEntry):
        unpack(blob, HOME)


@pytest.mark.parametrize(
    "cost",
    [
        b"",
        b"\x00",
        b"\x02\x01",
        b"\x01\x00",
        b"\x02\x01\x00",
        b"\x06" + b"\xff" * 6,
        b"\x3f" + bytes(62) + b"\1",
    ],
)
def test_what_no_load_took_is_corrupt(cost: bytes) -> None:
    with pytest.raises(CorruptEntry):
        unpack(header(flags=Flag.COSTED, rest=cost), HOME)


def test_a_value_that_no_load_brought_has_no_cost_and_no_byte_more() -> None:
    assert unpack(header(), HOME).cost == UNKNOWN
    assert len(pack(Entry(b"x", cost=UNKNOWN), HOME)) == STAMPS_AT + 1


@pytest.mark.parametrize("priority", CachePriority)
def test_a_priority_comes_back_and_tells_entries_apart(priority: CachePriority) -> None:
    entry = Entry(b"x", flags=priority_bits(priority) | 0x100)
    again = unpack(pack(entry, HOME), HOME)
    assert (entry.priority, again.priority, again.flags >> 8) == (priority, priority, 1)
    normal = Entry(b"x", flags=0x100)
    assert normal.priority is CachePriority.NORMAL
    same = priority is CachePriority.NORMAL
    assert entry.equals(normal) is same
    assert (pack(entry, HOME) == pack(normal, HOME)) is same
    assert (digest_of(entry) == digest_of(normal)) is same


@pytest.mark.parametrize("version", [-(2**63), -1, 0, 1, 2**63 - 1, None])
def test_every_version_of_64_bits_is_one(version: int | None) -> None:
    entry = Entry(b"", flags=Flag.VERSIONED, version=version)
    blob = pack(entry, HOME)
    again = unpack(blob, HOME)
    assert (again.version, again.flags) == (version, 0)


def test_a_future_flag_that_need_not_be_known_is_passed_on() -> None:
    entry = unpack(header(flags=0x8000), HOME)
    assert entry.flags == 0x8000
    assert pack(entry, HOME)[STAMPS_AT:] == header(flags=0x8000)[STAMPS_AT:]


@pytest.mark.parametrize(
    ("entry", "stamp", "says"),
    [
        (Entry(b"", version=2**63), (), "version is 9223372036854775808"),
        (Entry(b"", version=-(2**63) - 1), (), "version is -9223372036854775809"),
        (Entry(b"", created=math.nan), (), "seconds since 1970"),
        (Entry(b"", expires=-math.inf), (), "seconds since 1970"),
        (Entry(b""), (b"short",), "8 bytes"),
        (Entry(b""), (b"7 bytes", b"9 bytes.."), "8 bytes"),
        (Entry(b""), (b"12345678",) * 65536, "at most 65535"),
        (Entry(b"", names=("n",) * 65536), (), "at most 65535"),
        (Entry(b"", names=("n" * 65536,)), (), "longer than 65535"),
        (Entry(b"", names=("\ud800",)), (), "no text"),
        (Entry(b"", codec=7), (), "codec"),
        (Entry(b"", flags=0x10000), (), "flags"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(
    entry: Entry, stamp: tuple[bytes, ...], says: str
) -> None:
    with pytest.raises(BadInput, match=says):
        pack(entry, HOME, stamp)
