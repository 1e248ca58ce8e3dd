"""`@cached` functions: sharing, invalidating, methods, and what they look like."""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from cascada import (
    BadInput,
    Cache,
    InvalidKey,
    cached,
)
from tests.api.calls import Calls
from tests.api.settled import settled


@pytest.fixture(autouse=True)
def tenant(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASCADA_TENANT", "acme")


# --- what they bring along ----------------------------------------------------------------------


class Model:
    def __init__(self, name: str) -> None:
        self.name = name

    async def ask(self, question: str) -> str:
        return f"{self.name}: {question}"


@dataclass
class Asked:
    name: str

    async def __call__(self, question: str) -> str:
        return f"{self.name}: {question}"


async def ask(name: str, question: str = "?") -> str:
    return f"{name}: {question}"


@pytest.mark.parametrize("make", [Asked, lambda name: partial(ask, name), lambda name: name.join])
async def test_what_a_function_brings_along_is_part_of_the_key(
    cache: Cache, make: Callable[[str], Any]
) -> None:
    one, other = make("one"), make("other")
    for function in (one, other):
        answer = function("ab")
        truth = await answer if inspect.isawaitable(answer) else answer
        wrapped = cached("answer")(function)
        assert await getattr(wrapped, "aio", wrapped)("ab") == truth
    changing = Asked("first")
    function = cached("answer")(changing)
    await function("q")
    changing.name = "second"
    assert await function("q") == "second: q"
    with pytest.raises(BadInput, match=r"Model\.ask takes self"):
        await cached("answer")(Model("one").ask)("q")
    assert await cached("answer", ignore=("self",))(Model("one").ask)("q") == "one: q"


async def test_two_lambdas_have_two_results_and_any_name_may_be_an_argument(cache: Cache) -> None:
    one, other = cached("n")(lambda n: n + 1).aio, cached("n")(lambda n: n in {"a", 1, 7}).aio
    assert [await one(1), await other(1), await one(1)] == [2, True, 2]
    kept = cached("kept")(lambda **named: sorted(named)).aio
    assert await kept(self=1, args=2, kwargs=3) == ["args", "kwargs", "self"]


# --- invalidate, refresh, sharing ---------------------------------------------------------------


async def test_invalidate_and_refresh_are_of_these_arguments(cache: Cache) -> None:
    calls = Calls()

    @cached("weather")
    async def weather(city: str, units: str = "C") -> list[int]:
        return await calls.record(city)

    assert [await weather("Paris"), await weather("Rome")] == [[1], [2]]
    await settled()
    assert (await weather.invalidate(city="Paris")).keys == 1
    assert [await weather("Paris", "C"), await weather("Rome")] == [[3], [2]]
    assert await weather.refresh("Rome") == [4]
    assert [await weather("Paris"), await weather("Rome")] == [[3], [4]]


async def test_what_was_made_of_a_result_goes_with_it(cache: Cache) -> None:
    calls = Calls()

    @cached("inner")
    async def inner() -> list[int]:
        return await calls.record()

    @cached("outer")
    async def outer() -> list[Any]:
        return ["made of", await inner()]

    assert await outer() == ["made of", [1]]
    await settled()
    await inner.invalidate()
    assert await outer() == ["made of", [2]]


async def test_callers_at_once_share_one_call_and_get_their_own_copies(cache: Cache) -> None:
    calls, go_on = Calls(), asyncio.Event()

    @cached("slow")
    async def slow() -> list[int]:
        await go_on.wait()
        return await calls.record()

    async with asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(slow()) for _ in range(20)]
        await asyncio.sleep(0)
        go_on.set()
    results = [task.result() for task in asking]
    assert results == [[1]] * 20
    assert len({id(result) for result in results}) == 20


async def test_a_failure_is_the_caller_s_and_is_not_kept(cache: Cache) -> None:
    calls = Calls()

    @cached("flaky")
    async def flaky() -> list[int]:
        if not calls:
            await calls.record()
            raise ConnectionError("no model")
        return await calls.record()

    with pytest.raises(ConnectionError, match="no model"):
        await flaky()
    assert await flaky() == [2]


async def test_it_may_have_a_cache_of_its_own(cache: Cache) -> None:
    async with Cache() as own:

        @cached("weather", cache=own)
        async def weather() -> str:
            return "fine"

        await weather()
        assert await own.get(weather.cache_key())
        assert not await cache.get(weather.cache_key())


# --- what it looks like -------------------------------------------------------------------------


def test_name_documentation_and_signature_are_kept() -> None:
    @cached("weather")
    async def weather(city: str, *, units: str = "C") -> dict[str, str]:
        """The weather."""
        return {}

    assert weather.__name__ == "weather"  # type: ignore[attr-defined]
    assert weather.__doc__ == "The weather."
    signature = "(city: str, *, units: str = 'C') -> dict[str, str]"
    assert str(inspect.signature(weather)) == signature


async def test_wrong_arguments_are_a_type_error_as_always(cache: Cache) -> None:
    @cached("weather")
    async def weather(city: str) -> str:
        return city

    with pytest.raises(TypeError, match="missing a required argument: 'city'"):
        await weather()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'town'"):
        await weather("Paris", town="Paris")  # type: ignore[call-arg]


@dataclass(frozen=True)
class Repository:
    table: str

    @cached("row")
    async def row(self, number: int) -> list[Any]:
        """One row."""
        return [self.table, number]

    @classmethod
    @cached("table", ignore=("cls",))
    async def tables(cls, name: str) -> list[str]:
        return [cls.__name__, name]

    @staticmethod
    @cached("static")
    async def static(name: str) -> str:
        return name


async def test_methods_count_by_what_their_object_consists_of(cache: Cache) -> None:
    users, orders = Repository("users"), Repository("orders")
    assert await users.row(1) == ["users", 1]
    assert await orders.row(1) == ["orders", 1]
    assert users.row.cache_key(1) == Repository("users").row.cache_key(number=1)
    assert users.row.cache_key(1) == Repository.row.cache_key(users, 1)
    await settled()
    assert (await users.row.invalidate(1)).keys == 1
    assert await users.row.refresh(1) == ["users", 1]
    assert str(inspect.signature(users.row)) == "(number: int) -> list[typing.Any]"
    assert users.row.__doc__ == "One row."


async def test_class_and_static_methods(cache: Cache) -> None:
    repository: Any = Repository  # checkers know no class method that is not a function
    assert await repository.tables("a") == ["Repository", "a"]
    assert await repository("x").tables("a") == ["Repository", "a"]
    assert await repository.static("s") == await repository("x").static("s") == "s"


# --- what cannot be cached ----------------------------------------------------------------------


def items() -> Iterator[int]:
    yield 1


UNNAMED: Any = items
NO_FUNCTION: Any = 7


def test_plain_generators_are_refused_with_what_to_do() -> None:
    with pytest.raises(TypeError, match=r"items is a plain generator; make it an async one"):
        cached("pieces")(items)


@pytest.mark.parametrize(
    ("attempt", "sentence"),
    [
        (lambda: cached(UNNAMED), r'write @cached\("data_type"\)'),
        (lambda: cached("a", key_prefix="b"), "two words for one thing"),
        (lambda: cached("a", tags="news"), r"pass \('news',\)"),
        (lambda: cached("a", ignore="self"), r"pass \('self',\)"),
        (lambda: cached("a", ignore=["b"])(len), "ignore names 'b', which len does not take"),
        (lambda: cached("a")(staticmethod(len)), "@cached stands below @staticmethod"),
        (lambda: cached("a")(NO_FUNCTION), "@cached was given 7, which is no function"),
    ],
)
def test_misuse_is_a_sentence(attempt: Any, sentence: str) -> None:
    with pytest.raises(TypeError, match=sentence):
        attempt()


@pytest.mark.parametrize("data_type", ["", 7])
def test_a_wrong_data_type_is_refused_where_it_is_written(data_type: Any) -> None:
    with pytest.raises(InvalidKey, match="data_type is"):
        cached(data_type)(len)
