"""Ids made of values: the same everywhere and for ever, and never the same for two."""

import os
import subprocess
import sys
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum
from fractions import Fraction
from functools import cached_property, partial
from ipaddress import IPv4Address, IPv6Address
from itertools import combinations
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import numpy
import pydantic
import pytest
from hypothesis import given

from cascada.codecs.digest import generate_resource_id_hash
from cascada.model.errors import BadInput
from tests.codecs.samples import exact, values


class Colour(Enum):
    RED = "red"


class Mode(StrEnum):
    RED = "red"


class Level(IntEnum):
    ONE = 1


@dataclass
class Query:
    text: str
    k: int = 3


@dataclass
class Request:
    text: str
    k: int = 3


class Model(pydantic.BaseModel):
    text: str
    k: int = 3


class Struct(msgspec.Struct):
    text: str
    k: int = 3


class Madrid(NamedTuple):
    x: int
    y: int


class Berlin(NamedTuple):
    x: int
    y: int


Renamed = namedtuple("Madrid", "x z")  # type: ignore[name-match]


class Many(list[int]):
    pass


class Shout(str):
    __slots__ = ()


class Marked(str):
    __slots__ = ("mark",)
    mark: str


def marked(text: str, mark: str) -> Marked:
    made = Marked(text)
    made.mark = mark
    return made


class Count(int):
    pass


class Ratio(float):
    pass


class Table(dict[str, int]):
    def items(self) -> Any:  # what it says of itself is not what it holds
        return {}.items()


class Money(Decimal):
    def __str__(self) -> str:  # with two digits, whatever it holds
        return f"${float(self):.2f}"


class Bag(set[int]):
    def __iter__(self) -> Any:
        return iter(())


class Later(datetime):
    hour = property(lambda _: 0)  # type: ignore[assignment]


class Noon(time):
    hour = property(lambda _: 12)  # type: ignore[assignment]


class Ledger(OrderedDict[str, int]):
    def items(self) -> Any:
        return {}.items()


class Rough(float):
    def __float__(self) -> float:
        return 0.0

    def __ne__(self, other: object) -> bool:
        return True


class Rest(timedelta):
    days = property(lambda _: 0)  # type: ignore[assignment]


class Named:
    __slots__ = ("name",)
    name: str


@dataclass(slots=True)
class Numbered(Named):
    number: int


def named(name: str) -> Numbered:
    made = Numbered(1)
    made.name = name
    return made


class Perm(Flag):
    R = 1
    W = 2


class Odd(Enum):
    A = float("nan")
    B = float("nan")


class Derived(Query):
    """Not declared anew: it may be given attributes that no declaration tells of."""

    @cached_property
    def words(self) -> list[str]:
        return self.text.split()


def further(price: int) -> Derived:
    made = Derived("a")
    made.price = price  # type: ignore[attr-defined]
    return made


@dataclass
class Tagged(list[str]):
    source: str

    def __init__(self, items: list[str], source: str) -> None:
        super().__init__(items)
        self.source = source


class Guarded(pydantic.BaseModel):
    _by: str = pydantic.PrivateAttr("")


def guarded(by: str) -> Guarded:
    made = Guarded()
    made._by = by
    return made


PLUS_2 = timezone(timedelta(hours=2))
IN_BERLIN = datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
IN_MADRID = IN_BERLIN.replace(tzinfo=ZoneInfo("Europe/Madrid"))

DIFFERENT: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}),
    (("ab", "c"), {}), (("a", "bc"), {}), (("abc",), {}), (("a", "b", "c"), {}),
    ((["a", "b"],), {}), ((("a", "b"),), {}), (([["a"], "b"],), {}), ((["a"], "b"), {}),
    ((1,), {}), (("1",), {}), ((True,), {}), ((1.0,), {}), ((b"1",), {}), ((Decimal(1),), {}),
    ((Level.ONE,), {}), ((None,), {}), (("None",), {}), (("",), {}), ((b"",), {}),
    ((0,), {}), ((0.0,), {}), ((False,), {}), ((0j,), {}), ((-1,), {}), ((255,), {}),
    ((-(2**70),), {}),
    ((float("nan"),), {}), (("nan",), {}), ((float("inf"),), {}),
    (({"a": 1},), {}), ((), {"a": 1}), ((["a", 1],), {}), (({"a": None},), {}), (({},), {}),
    (({1, 2},), {}), ((set(),), {}), (([],), {}), (((),), {}), (({(1, 2)},), {}),
    ((Colour.RED,), {}), ((Mode.RED,), {}), (("red",), {}),
    ((UUID(int=1),), {}), ((str(UUID(int=1)),), {}), ((UUID(int=1).bytes,), {}),
    ((date(2024, 1, 1),), {}), ((datetime(2024, 1, 1, tzinfo=UTC),), {}), (("2024-01-01",), {}),
    ((datetime(2024, 1, 1),), {}), ((time(0),), {}), ((timedelta(0),), {}),  # noqa: DTZ001
    ((Query("a"),), {}), ((Request("a"),), {}), ((Model(text="a"),), {}), ((Struct("a"),), {}),
    ((Query("a", 4),), {}), (({"text": "a", "k": 3},), {}), (("\ud800",), {}),
    ((Madrid(0, 0),), {}), ((Berlin(0, 0),), {}), (((0, 0),), {}), ((Renamed(0, 0),), {}),
    ((IN_BERLIN,), {}), ((IN_MADRID,), {}), ((IN_BERLIN.replace(fold=1),), {}),
    ((IN_BERLIN.replace(tzinfo=None),), {}), ((IN_BERLIN.replace(tzinfo=PLUS_2),), {}),
    ((time(1),), {}), ((time(1, fold=1),), {}), ((time(1, tzinfo=UTC),), {}),
    ((time(1, tzinfo=PLUS_2),), {}), ((time(1, tzinfo=ZoneInfo("UTC")),), {}),
    ((ZoneInfo("Europe/Berlin"),), {}), ((ZoneInfo("Europe/Madrid"),), {}),
    (("Europe/Berlin",), {}),
    ((Decimal("1.0"),), {}), ((Decimal("1.00"),), {}), ((Fraction(1),), {}), ((-0.0,), {}),
    ((2**53 + 1,), {}), ((float(2**53),), {}), ((complex(1, 0),), {}), ((-1j,), {}),
    ((numpy.float64(1),), {}), ((numpy.float32(1),), {}), ((numpy.int64(1),), {}),
    ((numpy.bool_(1),), {}), ((numpy.str_("1"),), {}), ((numpy.datetime64("2024-01-01"),), {}),
    ((numpy.array(1.0),), {}), ((numpy.array([1.0]),), {}), ((numpy.array([[1.0]]),), {}),
    ((numpy.array([1.0], ">f8"),), {}), ((numpy.array([1.0], "f4"),), {}),
    ((numpy.zeros((0, 2)),), {}), ((numpy.zeros((2, 0)),), {}), ((numpy.array([1]),), {}),
    ((bytearray(b"1"),), {}), ((frozenset({1, 2}),), {}), ((deque([1]),), {}),
    ((deque([1], 3),), {}), (([1],), {}), ((Many([1]),), {}), ((Shout("1"),), {}),
    ((marked("1", "x"),), {}), ((marked("1", "y"),), {}), ((Count(1),), {}), ((Ratio(1.0),), {}),
    ((Table(a=1),), {}), ((OrderedDict(a=1, b=2),), {}), ((OrderedDict(b=2, a=1),), {}),
    ((Counter(a=1),), {}), (({"a": 1, "b": 2},), {}), ((Perm.R,), {}), ((Perm.R | Perm.W,), {}),
    ((Odd.A,), {}), ((Odd.B,), {}), ((PurePosixPath("1"),), {}), ((Path("1"),), {}),
    ((range(3),), {}), ((range(0, 6, 2),), {}), (([0, 1, 2],), {}), ((slice(3),), {}),
    ((slice(0, 3),), {}), ((IPv4Address(1),), {}), ((IPv6Address(1),), {}),
    ((further(1),), {}), ((further(2),), {}), ((Derived("a"),), {}), ((guarded("x"),), {}),
    ((guarded("y"),), {}), ((Tagged(["a"], "x"),), {}), ((Tagged(["b"], "x"),), {}),
    ((Money("1.001"),), {}), ((Money("1.002"),), {}), ((Bag({1}),), {}), ((Bag({2}),), {}),
    ((Later(2024, 1, 1, 5),), {}), ((Later(2024, 1, 1, 6),), {}),
    ((Noon(1),), {}), ((Noon(2),), {}),
    ((Ledger(a=1),), {}), ((Ledger(a=2),), {}), ((Rough(1),), {}), ((Rough(2),), {}),
    ((Rest(1),), {}), ((Rest(2),), {}), ((named("a"),), {}), ((named("b"),), {}),
    ((1, None), {}), (([1, [2]],), {}), (([[1], 2],), {}), ((None, {}), {}), (({None: {}},), {}),
]  # fmt: skip


def test_different_parts_have_different_ids() -> None:
    ids = [generate_resource_id_hash(*parts, **named) for parts, named in DIFFERENT]
    assert len(set(ids)) == len(ids)
    assert all(len(text) == 32 and int(text, 16) >= 0 for text in ids)


@given(values, values)
def test_two_values_have_one_id_only_if_they_are_equal(one: Any, other: Any) -> None:
    same = generate_resource_id_hash(one) == generate_resource_id_hash(other)
    if same:
        assert one == other or exact(one) == exact(other)
    assert generate_resource_id_hash(one) == generate_resource_id_hash(one)


def test_the_order_of_names_and_keys_does_not_matter() -> None:
    one = generate_resource_id_hash({"a": 1, "b": {3, 2}}, x=1, y=2)
    assert one == generate_resource_id_hash({"b": {2, 3}, "a": 1}, y=2, x=1)
    assert one != generate_resource_id_hash({"b": {2, 3}, "a": 1}, y=1, x=2)


def test_parts_and_named_parts_are_told_apart() -> None:
    for one, other in combinations(
        [
            generate_resource_id_hash("a", b="c"),
            generate_resource_id_hash("a", "b", "c"),
            generate_resource_id_hash("a", {"b": "c"}),
            generate_resource_id_hash(a="a", b="c"),
        ],
        2,
    ):
        assert one != other


SCRIPT = """
from collections import OrderedDict
from datetime import datetime
from decimal import Decimal
from pathlib import PurePosixPath
from uuid import UUID
from zoneinfo import ZoneInfo
import numpy
from cascada.codecs.digest import generate_resource_id_hash
print(generate_resource_id_hash(
    "q", 7, -1.5, None, True, b"x", [1, (2,)], {"k": set("abcdefgh"), 3: frozenset({1})},
    UUID(int=9), Decimal("1.50"), datetime(2024, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")),
    numpy.arange(3, dtype=">i4"), OrderedDict(b=1, a=2), PurePosixPath("/a"), model="m", k=5,
))
"""


@pytest.mark.parametrize("seed", ["0", "1", "424242"])
def test_the_id_is_the_same_in_every_process(seed: str) -> None:
    said = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    # Never change it: what is stored under such ids would no longer be found.
    assert said.stdout.strip() == "5f5020505ed141774343961b58ed1cac"


def made_twice() -> list[tuple[Any, Any]]:
    words = Derived("a")
    assert words.words == ["a"]
    few: Any = numpy.arange(4).reshape(2, 2)
    return [
        (Query("a"), Query("a")),
        (words, Derived("a")),  # what somebody has looked at says nothing new
        (few.T, numpy.array(few.T, order="C")),
        (range(0, 3, 2), range(0, 4, 2)),
        ({"a": 1, "b": {2, 3}}, {"b": {3, 2}, "a": 1}),
        (ZoneInfo("UTC"), ZoneInfo.no_cache("UTC")),
        (Counter("ab"), Counter("ba")),
        (float("nan"), -float("nan")),
        (UUID(int=7), DriverUUID(int=7)),
    ]


class DriverUUID(UUID):
    pass


@pytest.mark.parametrize(("one", "other"), made_twice())
def test_equal_values_of_one_class_have_one_id(one: Any, other: Any) -> None:
    assert generate_resource_id_hash(one) == generate_resource_id_hash(other)


class Handle:
    pass


class Nowhere(tzinfo):
    pass


class Secret(list[int]):
    def __reduce__(self) -> Any:  # so a class says that there is more to it than meets the eye
        return Secret, ()


class Hostile:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


@pytest.mark.parametrize(
    "part",
    [
        Handle(), Handle().__init__, Handle, lambda: 1, partial(int, 1), print, iter(()),
        memoryview(b"a"), defaultdict(int), Secret(), datetime.min.replace(tzinfo=Nowhere()),
        numpy.array([object()]), numpy.ma.array([1]), numpy.zeros(1, [("a", "i4")]), Hostile(),
    ],
    ids=lambda part: type(part).__name__,
)  # fmt: skip
def test_what_cannot_be_told_from_another_is_refused(part: Any) -> None:
    for parts in ([part], [[part]], [{"a": (part,)}]):
        with pytest.raises(BadInput):
            generate_resource_id_hash("a", *parts)


def test_a_part_that_holds_itself_is_refused() -> None:
    part: list[Any] = []
    part.append(part)
    with pytest.raises(BadInput, match="holds itself"):
        generate_resource_id_hash(part)
