"""Values of a declared type come back as that type, or are refused when they are stored."""

import dataclasses
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple, TypedDict
from uuid import UUID

import msgspec
import numpy
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascada.codecs.values import ValueCodec
from cascada.model.entry import Codec
from cascada.model.errors import CorruptEntry, SerializationError
from tests.codecs.samples import CODEC, back


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


@dataclass
class Tool:
    name: str
    cost: Decimal = Decimal(0)


@dataclass(frozen=True)
class Agent:
    id: UUID
    name: str
    tools: list[Tool] = field(default_factory=list)
    tags: set[str] = field(default_factory=set)
    size: tuple[int, int] = (0, 0)
    seen: datetime | None = None
    anything: Any = None


class Message(msgspec.Struct, frozen=True):
    role: Literal["user", "assistant"]
    text: str
    at: datetime


class Place(NamedTuple):
    x: float
    y: float


class Row(TypedDict):
    id: int
    name: str


class Price(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    amount: Decimal
    currency: str = pydantic.Field(alias="cur")


class Order(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    id: UUID
    price: Price
    tags: set[str]
    span: tuple[date, date]
    at: datetime
    blob: bytes = b"\x00\xff"
    anything: Any = None

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def label(self) -> str:
        return f"{self.id}"


class Extra(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    a: int


class Ids(pydantic.RootModel[list[int]]):
    pass


class Role(Enum):
    USER = "user"
    MODEL = "model"


class Said(pydantic.BaseModel):
    kind: Literal["said"] = "said"
    text: str
    role: Role = Role.MODEL
    level: Level = Level.LOW


class Called(pydantic.BaseModel):
    kind: Literal["called"] = "called"
    url: pydantic.AnyUrl = pydantic.AnyUrl("https://example.org/a?b=c")
    file: PurePosixPath = PurePosixPath("/a/b")
    blob: bytes = b"\x00\xff"
    by_role: dict[Role, tuple[int, ...]] = {Role.USER: (1, 2)}


class Also(pydantic.BaseModel):
    """Like `Said` in all but its name."""

    kind: str = "said"
    text: str
    role: Role = Role.MODEL
    level: Level = Level.LOW


AnyMessage = Annotated[Said | Called, pydantic.Field(discriminator="kind")]


@dataclass
class Turn:
    message: Said | Called


class Numbered(NamedTuple):
    number: int
    message: AnyMessage  # type: ignore[valid-type]  # mypy takes no Annotated from a variable here


class Anything(pydantic.RootModel[Said | Called]):
    pass


WHEN = datetime(2024, 5, 6, 7, 8, 9, 123456, UTC)
ID = UUID(int=5)
AGENT = Agent(ID, "Ana", [Tool("search", Decimal("1.50"))], {"a", "b"}, (3, 4), WHEN)
ORDER = Order(
    id=ID,
    price=Price(amount=Decimal("9.90"), cur="EUR"),
    tags={"x", "y"},
    span=(date(2024, 1, 1), date(2024, 2, 1)),
    at=datetime.fromisoformat("2024-05-06T07:08:09.123+05:30"),
    anything=(1, {2, 3}, Decimal("1.0")),
)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (AGENT, Agent),
        ([AGENT, AGENT], list[Agent]),
        ({"a": AGENT}, dict[str, Agent]),
        ({ID: (AGENT, None)}, dict[UUID, tuple[Agent, Agent | None]]),
        (Message("user", "hi", WHEN), Message),
        ((Message("user", "hi", WHEN),), tuple[Message, ...]),
        (ORDER, Order),
        ([ORDER], list[Order]),
        ({"o": ORDER}, dict[str, Order | None]),
        (Extra(a=1, b={"c": (2,)}), Extra),  # type: ignore[call-arg]
        (Ids([1, 2]), Ids),
        (Place(1.0, 2.0), Place),
        ({"id": 1, "name": "n"}, Row),
        (Colour.RED, Colour),
        (Level.LOW, Level),
        ([Colour.RED], list[Colour]),
        ({1, 2}, set[int]),
        (frozenset({"a"}), frozenset[str]),
        ((1, "a"), tuple[int, str]),
        (Decimal("1.10"), Decimal),
        ([Decimal("sNaN")], list[Decimal]),
        (ID, UUID),
        (WHEN, datetime),
        (datetime(2024, 1, 1, 2, 3), datetime),  # noqa: DTZ001 - a naive one must come back, too
        (date(2024, 1, 1), date),
        (time(1, 2, 3), time),
        (timedelta(days=-1, microseconds=5), timedelta),
        (1 + 2j, complex),
        ([1 + 2j, None], list[complex | None]),
        (b"\x00", bytes),
        (None, Agent | None),
        (Called(), Called),
        (Said(text="a"), Said | Called),
        (Called(), Said | Called | None),
        (None, Said | Called | None),
        ([Said(text="a"), Called()], list[Said | Called]),
        ([Said(text="a"), Called()], list[AnyMessage]),
        ({"a": (Called(), None)}, dict[str, tuple[Said | Called, Called | None]]),
        (Turn(Called()), Turn),
        ([Turn(Said(text="a"))], list[Turn]),
        (Numbered(1, Called()), Numbered),
        (Anything(Called()), Anything),
        ([Called(), {1}], list[Said | Called | set[int]]),
        (Decimal("1.50"), Said | Called | Decimal),
        ("1.5", Said | Called | Decimal | str),
        (ID, Said | Called | UUID),
        (5, Annotated[int, msgspec.Meta(ge=0)]),
        ({"a": [1, "x", None]}, dict[str, Any]),
        ([1, 2], Any),
        ({"a": (1,)}, object),
    ],
)
def test_a_declared_type_comes_back(value: Any, wanted: Any) -> None:
    again = back(value, type=wanted)
    assert type(again) is type(value)
    if "sNaN" not in str(value):
        assert again == value


def test_a_model_keeps_what_no_json_could() -> None:
    again = back(ORDER, type=Order)
    assert again.anything == (1, {2, 3}, Decimal("1.0"))
    assert str(again.anything[2]) == "1.0"
    assert again.at.utcoffset() == timedelta(hours=5, minutes=30)
    assert type(again.price) is Price


class Vectors(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    vector: numpy.ndarray


@dataclass
class Embedded:
    vector: numpy.ndarray
    other: complex = 1j


@pytest.mark.parametrize("kind", [Vectors, Embedded])
def test_an_array_inside_of_a_model_comes_back(kind: Any) -> None:
    value = kind(vector=numpy.arange(6, dtype="f4").reshape(2, 3))
    again = back(value, type=kind)
    assert again.vector.dtype == numpy.float32
    assert (again.vector == value.vector).all()


class Plain:
    """A model to whom `round_trip` and `by_name` say nothing: told by its two methods alone."""

    def __init__(self, n: int) -> None:
        self.n = n

    def model_dump(self) -> dict[str, int]:
        return {"n": self.n}

    @classmethod
    def model_validate(cls, value: Any) -> "Plain":
        return cls(value["n"])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plain) and other.n == self.n

    __hash__ = None  # type: ignore[assignment]


def test_a_model_is_told_by_what_it_can_do() -> None:
    assert back([Plain(3)], type=list[Plain]) == [Plain(3)]


class Shortened(pydantic.BaseModel):
    text: str = pydantic.Field(exclude=True, default="")


class Slashed(pydantic.BaseModel):
    path: str

    @pydantic.field_validator("path")
    @classmethod
    def _with_slash(cls, path: str) -> str:
        return path + "/"


class Base(pydantic.BaseModel):
    a: int


class Derived(Base):
    b: int


@pytest.mark.parametrize(
    ("value", "wanted", "says"),
    [
        ({"a": [1, "x"]}, dict[str, list[int]], r"Expected `int`, got `str` - at `value\[...\]"),
        ([1, 2, "x"], list[int], r"at `value\[2\]`"),
        ([Tool("a"), Tool(5)], list[Tool], r"at `value\[1\].name`"),  # type: ignore[arg-type]
        (1, str, "type=str"),
        (Tool("a"), Agent, "required field `id`"),
        ({"id": 1}, Order, "Order"),
        ({"a": {"b": {1}}}, dict[str, Any], r"value.a.b is a set and would come back as a list"),
        (dataclasses.replace(AGENT, anything={ID}), Agent, "value.anything is a set"),
        (Level.LOW, int, "Level and would come back as a"),
        (OrderedDict(a=1), dict[str, int], "OrderedDict"),
        ([Colour.RED], list[str], r"value\[0\] is a .*Colour and would come back as a str"),
        (5, Said | Called, "does not fit type=.* model_type"),
        (Also(text="a"), Said | Also, "Also and would come back as a .*Said"),
        ([Said(text="a"), 7], list[AnyMessage], "at 1"),
        ((1,), Said | list[int] | Called, "is a tuple and would come back as a list"),
        (object(), Said | Called, "value cannot be stored: .*unknown type"),
        (Derived(a=1, b=2), Base, "Derived and would come back as a .*Base"),
        (Shortened(text="long"), Shortened, "value.text would come back with another value"),
        (Slashed(path="a"), Slashed, "value.path would come back with another value"),
        (2**60 + 1, float, "another value"),
        ([2**70], list[int], r"value\[0\] is an int beyond 64 bits"),
        ([object()], list[Any], r"value\[0\] is an object"),
        (Tool("\ud800"), Tool, "value.name is a str with a lone surrogate"),
        (dataclasses.replace(AGENT, anything=object()), Agent, "value.anything is an object"),
        ([1], list[object] | set[int], "cannot be decoded to"),
        (Tool("a"), ValueCodec, "none of the types that can be decoded"),
    ],
)
def test_what_would_come_back_as_less_is_refused(value: Any, wanted: Any, says: str) -> None:
    with pytest.raises(SerializationError, match=says):
        CODEC.encode(value, type=wanted)


def test_a_model_that_refuses_says_what_but_not_the_value() -> None:
    with pytest.raises(SerializationError) as caught:
        CODEC.encode({"id": "hunter2", "price": 1}, type=Order)
    assert "hunter2" not in str(caught.value)
    assert "at id" in str(caught.value)


@pytest.mark.parametrize(
    "wanted", [Agent, Order, list[int], Colour, complex, UUID, Plain, str, Said | Order]
)
def test_what_is_of_another_type_is_corrupt(wanted: Any) -> None:
    data = CODEC.encode({"secret": 1.5}).data
    with pytest.raises(CorruptEntry) as caught:
        CODEC.decode(data, Codec.MSGPACK, 0, type=wanted)
    assert "secret" not in str(caught.value)


def test_a_field_that_is_new_and_mandatory_makes_old_entries_corrupt() -> None:
    data = CODEC.encode({"role": "user", "text": "hi"}).data
    with pytest.raises(CorruptEntry, match="missing required field `at`"):
        CODEC.decode(data, Codec.MSGPACK, 0, type=Message)


def test_a_type_that_nothing_decodes_to_is_corrupt_and_no_crash() -> None:
    with pytest.raises(CorruptEntry):
        CODEC.decode(b"\x01", Codec.MSGPACK, 0, type=list[object] | set[int])


def test_a_type_without_a_hash_is_decoded() -> None:
    wanted = Annotated[list[int], ["no hash"]]
    assert back([1, 2], type=wanted) == [1, 2]


def test_what_is_less_becomes_what_is_declared() -> None:
    assert back([1, 1, 2], type=set[int]) == {1, 2}
    assert back({"name": "search", "cost": "1.5"}, type=Tool) == Tool("search", Decimal("1.5"))
    assert type(back(1, type=float)) is float


def test_a_deep_typed_value_is_refused_and_not_stored() -> None:
    value: Any = 1
    for _ in range(2000):
        value = [value]
    with pytest.raises(SerializationError, match="deep"):
        CODEC.encode(value, type=list)


@given(st.binary(max_size=60))
def test_any_bytes_are_of_the_type_or_corrupt(data: bytes) -> None:
    for wanted in (Agent, Order, list[Tool], dict[str, Any], complex, Said | Called):
        try:
            again = CODEC.decode(data, Codec.MSGPACK, 0, type=wanted)
        except CorruptEntry:
            continue
        assert isinstance(again, list | dict | complex | Agent | Order | Said | Called)


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (list[object] | set[int], r"type is list\[object\] \| set\[int\]: Type unions may not"),
        (object(), "type is a object; pass a type"),
        (7, "type is 7; pass a type"),
    ],
)
def test_a_type_that_nothing_is_decoded_to_is_named(wanted: Any, says: str) -> None:
    with pytest.raises(SerializationError, match=says):
        CODEC.declared(wanted)
