"""`@cached`: results of a declared class come back as it, by the annotation or by `type=`."""

from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel

from cascada import Cache, Loaded, Policy, cached
from tests.api.settled import settled


class Colour(Enum):
    RED = "red"


class Place(NamedTuple):
    x: int
    y: int


@dataclass
class Row:
    name: str
    tags: set[str]


class Said(BaseModel):
    text: str


class Called(BaseModel):
    tool: str


@pytest.fixture(autouse=True)
def tenant(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASCADA_TENANT", "acme")


async def test_the_annotation_says_what_comes_back(cache: Cache) -> None:
    calls = []

    @cached("row")
    async def row(name: str) -> Row:
        calls.append(name)
        return Row(name, {"a"})

    @cached("rows")
    async def rows() -> Loaded[list[Row | None]]:
        return Loaded([Row("b", set()), None], tags=["t"])

    @cached("message")
    async def message(text: str) -> Said | Called | None:
        return Said(text=text) if text else Called(tool="t")

    @cached("place")
    def place() -> tuple[Place, Colour]:
        return Place(1, 2), Colour.RED

    first = await row("a")
    first.tags.add("mine")
    for _ in range(3):
        assert await row("a") == Row("a", {"a"})
        assert await rows() == [Row("b", set()), None]
        assert await message("hi") == Said(text="hi")
        assert await message("") == Called(tool="t")
        assert await place.aio() == (Place(1, 2), Colour.RED)
        assert type((await place.aio())[0]) is Place
    assert calls == ["a"]
    assert await row.refresh("a") == Row("a", {"a"})
    assert calls == ["a", "a"]


async def test_type_says_it_where_there_is_no_annotation(cache: Cache) -> None:
    @cached("row", type=Row)
    async def row():  # type: ignore[no-untyped-def]  # that is what is tried
        return Row("a", {"a"})

    assert await row() == Row("a", {"a"})
    await settled()
    assert await row() == Row("a", {"a"})


async def test_type_goes_before_the_policy_and_the_policy_before_the_annotation(
    cache: Cache,
) -> None:
    @cached("p", policy=Policy(type=dict[str, int]))
    async def by_policy() -> Row:
        return {"a": 1}  # type: ignore[return-value]  # the annotation lies

    @cached("q", policy=Policy(type=dict[str, int]), type=list[int])
    async def by_type() -> Row:
        return [1]  # type: ignore[return-value]  # here, too

    for _ in range(2):
        assert await by_policy() == {"a": 1}
        assert await by_type() == [1]


async def test_what_comes_back_by_itself_needs_no_type(cache: Cache) -> None:
    @cached("lax")
    async def lax() -> list[int]:
        return (1, 2)  # type: ignore[return-value]  # stored as what it is, whatever is said of it

    @cached("odd")
    async def odd() -> "NotDefinedAnywhere":  # type: ignore[name-defined]  # noqa: F821
        return (1, 2)

    for _ in range(2):
        assert await lax() == (1, 2)
        assert await odd() == (1, 2)


async def test_a_class_that_is_defined_further_down_is_found(cache: Cache) -> None:
    @cached("later")
    async def later() -> "Later":
        return Later(n=1)

    assert await later() == Later(n=1)
    assert await later() == Later(n=1)


class Later(BaseModel):
    n: int
    more: Any = None
