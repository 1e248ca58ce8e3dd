"""Values of a declared type that msgspec alone would lose something of."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pydantic
import pytest

from cascada.model.errors import SerializationError
from tests.codecs.samples import CODEC, back

IN_BERLIN = datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)


@dataclass
class Meeting:
    at: datetime
    bell: time
    others: list[datetime]
    first: datetime | None = None
    by: dict[str, datetime] = field(default_factory=dict)


@dataclass
class Anything:
    value: Any


class MeetingModel(pydantic.BaseModel):
    at: datetime
    bell: time


@pytest.mark.parametrize(
    "value",
    [
        Meeting(IN_BERLIN, time(1, fold=1), [IN_BERLIN.replace(fold=0)], None, {"a": IN_BERLIN}),
        Meeting(datetime(2024, 5, 6, tzinfo=UTC), time(1, tzinfo=ZoneInfo("Europe/Berlin")), []),
        MeetingModel(at=IN_BERLIN, bell=time(1, fold=1)),
        Anything(UUID(int=7)),
        Anything((1, [IN_BERLIN])),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_msgspec_would_lose_comes_back_all_the_same(value: Any) -> None:
    again = back(value, type=type(value))
    assert again == value
    assert repr(again) == repr(value)  # which tells zones and folds


class Shouted(str):
    __slots__ = ()


class Guarded(pydantic.BaseModel):
    _by: str = pydantic.PrivateAttr("")
    _lock: Any = pydantic.PrivateAttr(default_factory=object)


def guarded(by: str) -> Guarded:
    made = Guarded()
    made._by = by
    return made


class Named:
    __slots__ = ("name",)
    name: str


@dataclass(slots=True)
class Numbered(Named):
    number: int = 1


def named(name: str) -> Numbered:
    made = Numbered()
    made.name = name
    return made


def further(tool: Anything) -> Anything:
    tool.price = 7  # type: ignore[attr-defined]  # what no declaration tells of
    return tool


@pytest.mark.parametrize(
    ("value", "wanted", "says"),
    [
        (Shouted("a"), str, "Shouted"),
        (further(Anything("a")), Anything, "value.price is no field"),
        (guarded("x"), Guarded, "value._by is no field"),
        (named("x"), Numbered, "value.name is no field"),
    ],
)
def test_what_is_lost_on_both_ways_is_refused(value: Any, wanted: Any, says: str) -> None:
    with pytest.raises(SerializationError, match=says):
        CODEC.encode(value, type=wanted)
