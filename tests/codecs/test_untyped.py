"""Untyped values: exactly what went in, or a sentence with the path to what cannot."""

import asyncio
import struct
from collections import OrderedDict, defaultdict, deque
from dataclasses import dataclass
from datetime import UTC, datetime, time, tzinfo
from decimal import Decimal
from enum import Enum, StrEnum
from io import BytesIO
from typing import Any, NamedTuple
from uuid import UUID, SafeUUID, uuid4
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascada.codecs.values import ValueCodec
from cascada.model.entry import Codec, Flag
from cascada.model.errors import BadInput, CorruptEntry, SerializationError
from tests.codecs.samples import CODEC, back, codec_of, exact, plain_values, values

DEBUG = ValueCodec(debug=True, compress_over=64)


@given(plain_values)
def test_plain_values_come_back_exactly_as_msgpack(value: Any) -> None:
    assert exact(back(value)) == exact(value)
    assert codec_of(value) is Codec.MSGPACK


@given(values)
def test_all_values_come_back_exactly(value: Any) -> None:
    assert exact(back(value)) == exact(value)
    assert exact(back(value, DEBUG)) == exact(value)


@given(st.sets(st.text() | st.integers()), st.randoms())
def test_equal_sets_have_equal_bytes(items: set[Any], random: Any) -> None:
    shuffled = sorted(items, key=repr)
    random.shuffle(shuffled)
    assert CODEC.encode(set(shuffled)).data == CODEC.encode(items).data


@pytest.mark.parametrize("value", [None, 0, "", [], {}, False, 0.0, b"", (), set()])
def test_empty_values_are_values(value: Any) -> None:
    assert exact(back(value)) == exact(value)


def test_a_dict_keeps_its_order_and_the_types_of_its_keys() -> None:
    value = {"z": 1, 2: 2, True: 3, None: 4, 1.5: 5, b"k": 6, (1, 2): 7, "a": 8, 2**70: 9}
    assert exact(back(value)) == exact(value)


@pytest.mark.parametrize("kind", [None, datetime, list[datetime], dict[str, Any]])
def test_a_datetime_keeps_its_zone(kind: Any) -> None:
    """With the offset of the day alone, it would be an hour wrong after the next clock change."""
    for fold in (0, 1):
        local = datetime(2024, 10, 27, 2, 30, fold=fold, tzinfo=ZoneInfo("Europe/Madrid"))
        whole: Any = {None: {(1,): local}, datetime: local, list[datetime]: [local]}
        value = whole.get(kind, {"at": local})
        again = back(value, type=kind)
        if kind in (None, datetime, list[datetime]):
            assert exact(again) == exact(value)
        assert (again["at"] if kind == dict[str, Any] else local).tzinfo is ZoneInfo(
            "Europe/Madrid"
        )


def test_what_bears_a_zone_that_is_not_known_here_is_corrupt() -> None:
    data = CODEC.encode(datetime(2024, 1, 1, tzinfo=ZoneInfo("Europe/Madrid"))).data
    for name in (b"Europe/Madrix", b"../../../etc/", b"Europe/\xff\xffdrid"):
        with pytest.raises(CorruptEntry):
            CODEC.decode(data.replace(b"Europe/Madrid", name), Codec.EXTENDED, 0)


def test_a_uuid_says_whether_it_was_made_safely() -> None:
    for safe in SafeUUID:
        assert back([UUID(int=7, is_safe=safe)])[0].is_safe is safe


class DriverUUID(UUID):
    """asyncpg hands out a UUID class of its own."""


def test_a_drivers_uuid_comes_back_as_the_equal_uuid() -> None:
    value = DriverUUID(int=7)
    again = back({"id": value})["id"]
    assert again == value
    assert type(again) is UUID


class Colour(Enum):
    RED = "red"


class Mode(StrEnum):
    ON = "on"


class Point(NamedTuple):
    x: int
    y: int


class Shout(str):
    __slots__ = ()


@dataclass
class Owner:
    name: str


class Tag(msgspec.Struct):
    name: str


class Nowhere(tzinfo):
    def utcoffset(self, _: datetime | None) -> None:
        return None

    dst = tzname = utcoffset


# A zone that bears a key, and need not be what others find under that.
_FILE = b"TZif\0" + bytes(15) + struct.pack(">6l", 0, 0, 0, 0, 1, 4) + struct.pack(">lBB", 60, 0, 0)
FROM_A_FILE = ZoneInfo.from_file(BytesIO(_FILE + b"ODD\0"), key="Europe/Madrid")


class Row:
    def keys(self) -> list[str]:
        return ["id"]


async def _coroutine() -> None: ...


@pytest.mark.parametrize(
    ("part", "kind", "advice"),
    [
        (object(), "an object", "pass type="),
        (Owner("Ana"), "Owner", "pass type=Owner"),
        (Tag("x"), "Tag", "pass type=Tag"),
        (Owner, "a type", "serializer"),
        (print, "builtin_function_or_method", "serializer"),
        (lambda: 1, "function", "serializer"),
        (Colour.RED, "Colour", "pass its .value"),
        (Mode.ON, "Mode", "pass its .value"),
        (Shout("hi"), "Shout", "pass str of it"),
        (Point(1, 2), "Point", "pass tuple of it"),
        (OrderedDict(a=1), "OrderedDict", "pass dict of it"),
        (defaultdict(int), "defaultdict", "pass dict of it"),
        (Row(), "Row", "pass dict of it"),
        (deque([1]), "deque", "serializer"),
        (bytearray(b"x"), "bytearray", "pass bytes of it"),
        (memoryview(b"x"), "memoryview", "pass bytes of it"),
        ((item for item in "ab"), "generator", "collect it into a list"),
        ("\ud800", "a str", "lone surrogate"),
        (time(1, tzinfo=Nowhere()), "time zone", "fixed one"),
        (datetime(2024, 1, 1, tzinfo=FROM_A_FILE), "time zone", "fixed one"),
        (datetime(2024, 1, 1, tzinfo=Nowhere()), "time zone", "fixed one"),
    ],
)
def test_what_cannot_come_back_is_refused_with_its_path(part: Any, kind: str, advice: str) -> None:
    for value in (
        {"items": [1, 2, 3, {"owner": part}]},
        {"items": (1, 2, 3, {"owner": part})},
        {"when": datetime.now(UTC), "items": [0, 0, 0, {"owner": part, "rest": part}]},
    ):
        with pytest.raises(SerializationError) as caught:
            CODEC.encode(value)
        text = str(caught.value)
        assert text.startswith("value.items[3].owner ")
        assert kind in text
        assert advice in text


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (object(), "value "),
        ([object()], "value[0] "),
        ({"a b": object()}, "value['a b'] "),
        ({7: object()}, "value[7] "),
        ({(1, 2): object()}, "value[tuple] "),
        ({"ok": 1, Colour.RED: 1}, "value.keys()[1] "),
        ({(1, object()): 1}, "value.keys()[0][1] "),
        ({"tags": {1, Colour.RED}}, "value.tags.<element> "),
        ({"k" * 50: object()}, "value." + "k" * 50),
        ({"-" * 50: object()}, "value['" + "-" * 36 + "...] "),
    ],
)
def test_the_path_reads_as_python(value: Any, path: str) -> None:
    with pytest.raises(SerializationError) as caught:
        CODEC.encode(value)
    assert str(caught.value).startswith(path)


def test_the_refusal_is_bad_input_and_names_no_value() -> None:
    with pytest.raises(BadInput) as caught:
        CODEC.encode({"secret": [Shout("hunter2")]})
    assert "hunter2" not in str(caught.value)


def test_a_coroutine_is_told_from_its_result() -> None:
    coroutine = _coroutine()
    with pytest.raises(SerializationError, match="await it first"):
        CODEC.encode([coroutine])
    asyncio.run(coroutine)


def test_a_value_that_holds_itself_is_refused_with_its_path() -> None:
    listed: list[Any] = [1]
    listed.append({"self": listed})
    with pytest.raises(SerializationError, match=r"^value\[1\]\.self is one of the values"):
        CODEC.encode(listed)
    named: dict[str, Any] = {}
    named["a"] = (named,)
    with pytest.raises(SerializationError, match=r"^value\.a\[0\] is one of the values"):
        CODEC.encode(named)


def nested(depth: int, wrap: Any) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = wrap(value)
    return value


@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: (v,), lambda v: {"a": v}])
def test_a_value_that_is_too_deep_is_refused_and_not_stored(wrap: Any) -> None:
    with pytest.raises(SerializationError, match="deep") as caught:
        CODEC.encode(nested(2000, wrap))
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: {"a": v}])
def test_a_plain_value_may_be_as_deep_as_every_python_can_read(wrap: Any) -> None:
    """Python's own bound is about 1,000 levels or 12,000, from the caller's place in the stack."""
    assert back(nested(500, wrap)) == nested(500, wrap)
    with pytest.raises(SerializationError, match="is nested too deeply; pass it in parts"):
        CODEC.encode(nested(501, wrap))


@pytest.mark.parametrize("wrap", [lambda v: (v,), lambda v: {2**70: v}, lambda v: frozenset([v])])
def test_a_value_that_is_as_deep_as_allowed_can_be_read(wrap: Any) -> None:
    value = nested(100, wrap)
    assert exact(back(value)) == exact(value)


@given(st.binary())
def test_any_bytes_decode_or_are_corrupt(data: bytes) -> None:
    for codec in range(8):
        for flags in (0, 8, 16, 24):
            try:
                CODEC.decode(data, codec, flags)
            except CorruptEntry:
                continue


@given(values, st.data())
def test_damaged_values_decode_or_are_corrupt(value: Any, data: Any) -> None:
    encoded = bytearray(CODEC.encode(value).data)
    position = data.draw(st.integers(0, len(encoded) - 1))
    encoded[position] ^= data.draw(st.integers(1, 255))
    try:
        CODEC.decode(bytes(encoded), Codec.EXTENDED, 0)
    except CorruptEntry:
        return


@pytest.mark.parametrize(
    "data",
    [
        msgspec.msgpack.encode(msgspec.msgpack.Ext(99, b"")),
        msgspec.msgpack.encode(msgspec.msgpack.Ext(1, msgspec.msgpack.encode({"a": 1}))),
        msgspec.msgpack.encode(msgspec.msgpack.Ext(2, msgspec.msgpack.encode([[1]]))),
        msgspec.msgpack.encode(msgspec.msgpack.Ext(5, b"12x")),
        msgspec.msgpack.encode(msgspec.msgpack.Ext(6, b"short")),
        msgspec.msgpack.encode(msgspec.msgpack.Ext(9, b"short")),
        msgspec.msgpack.encode(msgspec.msgpack.Ext(13, msgspec.msgpack.encode([1, 2, 3]))),
        b"\x91" * 100_000 + b"\x01",
        b"\xdd\xff\xff\xff\xff",
        b"\x01\x02",
    ],
    ids=lambda data: data[:3].hex(),
)
def test_wrong_extensions_and_bombs_are_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptEntry):
        CODEC.decode(data, Codec.EXTENDED, 0)


def test_an_absence_decodes_to_none_and_holds_nothing() -> None:
    assert CODEC.decode(b"", Codec.NOTHING, 1) is None
    with pytest.raises(CorruptEntry):
        CODEC.decode(b"\xc0", Codec.NOTHING, 1)


def test_what_a_serializer_made_is_never_decoded_to_the_type() -> None:
    made = CODEC.encode("<owner>Ana</owner>").data
    assert CODEC.decode(made, Codec.CUSTOM, 0, type=Owner) == "<owner>Ana</owner>"


def test_an_encrypted_entry_is_corrupt_to_who_has_no_key() -> None:
    with pytest.raises(CorruptEntry, match="encrypted"):
        CODEC.decode(CODEC.encode(1).data, Codec.MSGPACK, Flag.ENCRYPTED)


def test_exact_ids_and_prices_in_one_value() -> None:
    value = {"id": uuid4(), "price": Decimal("10.00"), "when": datetime.now(UTC), "tags": ("a",)}
    assert exact(back(value)) == exact(value)
    assert codec_of(value) is Codec.EXTENDED
