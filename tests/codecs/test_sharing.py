"""What may be handed to many callers: only what none of them can change."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from functools import cached_property
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import numpy
import pytest

from cascada.codecs.immutable import immutable
from cascada.model.entry import UNSET
from tests.codecs.samples import CODEC, exact


@dataclass(frozen=True)
class Frozen:
    a: int
    b: Any = None


@dataclass(frozen=True, slots=True)
class Slotted:
    a: int


@dataclass
class Thawed:
    a: int


class Attributed(Frozen):
    """Not a dataclass itself, so it may be given attributes of its own."""


@dataclass(frozen=True)
class Lazy:
    a: int

    @cached_property
    def parts(self) -> list[int]:
        return [self.a]


@dataclass(frozen=True)
class Remembering:
    a: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "seen", [])


class FrozenStruct(msgspec.Struct, frozen=True):
    a: int
    b: Any = None


class Struct(msgspec.Struct):
    a: int


class Pair(NamedTuple):
    a: int
    b: Any


class Loose(tuple[int, ...]):
    """It has a __dict__."""


class Colour(Enum):
    RED = "red"


class Zone(tzinfo):
    def utcoffset(self, _: datetime | None) -> None:
        return None

    dst = tzname = utcoffset


def over_bytes() -> Any:
    return numpy.frombuffer(b"12345678", "f4")


def view_of_writable() -> Any:
    view = numpy.zeros(3)[:]
    view.flags.writeable = False
    return view


def owned_read_only() -> Any:
    array = numpy.zeros(3)
    array.flags.writeable = False
    return array


IMMUTABLE = [
    None, True, 1, 1.5, "a", b"a", 1j, Decimal(1), UUID(int=1), timedelta(1),
    datetime.now(UTC).date(), datetime.now(UTC), time(1), (), (1, ("a",)), frozenset({1, (2,)}),
    Frozen(1), Frozen(1, (2, Slotted(3))), FrozenStruct(1), FrozenStruct(1, Colour.RED),
    Pair(1, 2), Colour.RED, over_bytes(), over_bytes().reshape(2, 1), (over_bytes(), "a"),
]  # fmt: skip

MUTABLE = [
    [], {}, set(), ([],), (1, [2]), Frozen(1, [2]), Frozen(1, Thawed(1)), Thawed(1), Struct(1),
    FrozenStruct(1, {}), Attributed(1), Lazy(1), Remembering(1), Loose(), Pair(1, []),
    object(), bytearray(), memoryview(b""), numpy.zeros(3), owned_read_only(), view_of_writable(),
    numpy.frombuffer(bytearray(4), "f4"), datetime(2024, 1, 1, tzinfo=Zone()),
    (numpy.zeros(1),), iter(()),
]  # fmt: skip


@pytest.mark.parametrize("value", IMMUTABLE, ids=repr)
def test_what_nobody_can_change_is_shareable(value: Any) -> None:
    assert immutable(value)


@pytest.mark.parametrize("value", MUTABLE, ids=lambda value: type(value).__name__)
def test_what_somebody_can_change_is_not(value: Any) -> None:
    assert not immutable(value)


def test_what_is_too_deep_to_be_looked_at_is_not() -> None:
    value: Any = ()
    for _ in range(5000):
        value = (value,)
    assert not immutable(value)


@pytest.mark.parametrize(
    "value",
    [None, True, 0, 1.5, "a", b"a", 2**80, (1, ("a", None)), frozenset({1}), Decimal("1.0"),
     datetime.now(UTC), time(1, fold=1), 1j, UUID(int=3)],
    ids=repr,
)  # fmt: skip
def test_an_immutable_value_is_shared_as_it_would_be_decoded(value: Any) -> None:
    encoded = CODEC.encode(value)
    again = CODEC.decode(encoded.data, encoded.codec, encoded.flags)
    assert exact(encoded.value) == exact(again) == exact(value)


@pytest.mark.parametrize("value", [[], {}, set(), [1], {"a": 1}, (1, []), ({},)], ids=repr)
def test_a_mutable_value_is_not_shared(value: Any) -> None:
    assert CODEC.encode(value).value is UNSET


def test_a_tuple_of_arrays_is_shared_with_arrays_of_its_own() -> None:
    mine = numpy.zeros(1)
    shared: Any = CODEC.encode((mine, 1)).value
    mine[0] = 7
    assert shared[0][0] == 0
    assert immutable(shared)


def test_a_typed_value_is_shared_if_all_of_it_is_frozen() -> None:
    shared = CODEC.encode(Frozen(1, "x"), type=Frozen).value
    assert shared == Frozen(1, "x")
    assert CODEC.encode({"a": 1}, type=Frozen).value == Frozen(1)
    assert CODEC.encode(Frozen(1, [2]), type=Frozen).value is UNSET
    assert CODEC.encode(Thawed(1), type=Thawed).value is UNSET
    assert CODEC.encode([1, 2], type=tuple[int, ...]).value == (1, 2)


def test_a_shared_array_is_not_the_callers() -> None:
    mine = numpy.zeros(4, "f4")
    view = mine[:]
    view.flags.writeable = False
    for value in (mine, view):
        shared: Any = CODEC.encode(value).value
        mine[0] = 7
        assert shared[0] == 0
        assert immutable(shared)
        mine[0] = 0


def test_a_shared_datetime_has_its_zone() -> None:
    value = datetime(2024, 1, 1, tzinfo=ZoneInfo("Europe/Madrid"))
    assert immutable(value)
    assert exact(CODEC.encode(value).value) == exact(value)


def test_the_default_of_a_frozen_field_does_not_make_it_mutable() -> None:
    @dataclass(frozen=True)
    class Tags:
        tags: tuple[str, ...] = field(default_factory=tuple)

    assert immutable(Tags())
