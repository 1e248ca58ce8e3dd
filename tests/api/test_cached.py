"""`@cached` on async functions: keys, ttl, tenants, and what goes with the function."""

import asyncio
import inspect
import math
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from cascada import (
    FOREVER,
    BadInput,
    Cache,
    CacheManager,
    Context,
    InvalidKey,
    InvalidTTL,
    Loaded,
    MissingTenant,
    Policy,
    SerializationError,
    cached,
    configure,
)
from cascada.testing.clock import ManualClock
from tests.api.settled import settled


@pytest.fixture(autouse=True)
def tenant(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASCADA_TENANT", "acme")


class Calls(list[Any]):
    """What a function was called with; `@cached` on `record` of it."""

    async def record(self, *args: Any) -> list[Any]:
        self.append(args)
        return [len(self)]


async def test_one_call_for_all_ways_of_passing_the_same_arguments(cache: Cache) -> None:
    calls = []

    @cached("weather", ttl=FOREVER)
    async def weather(city: str, units: str = "C", *, days: int = 1) -> dict[str, Any]:
        calls.append((city, units, days))
        return {"city": city, "units": units, "days": days}

    expected = {"city": "Paris", "units": "C", "days": 1}
    assert await weather("Paris") == expected
    assert await weather(city="Paris") == expected
    assert await weather("Paris", "C") == expected
    assert await weather(units="C", city="Paris", days=1) == expected
    assert calls == [("Paris", "C", 1)]
    for other in [("Paris", "F", 1), ("Rome", "C", 1), ("Paris", "C", 2)]:
        await weather(other[0], other[1], days=other[2])
    assert len(calls) == 4


async def test_the_documents_form(cache: Cache) -> None:
    calls = 0

    @cached(ttl=1800, key_prefix="agent_response")
    async def get_expensive_data(param: str) -> dict[str, str]:
        nonlocal calls
        calls += 1
        return {"param": param}

    assert await get_expensive_data("p") == {"param": "p"}
    assert await get_expensive_data(param="p") == {"param": "p"}
    assert calls == 1
    key = get_expensive_data.cache_key("p")
    assert (key.tenant, key.data_type) == ("acme", "agent_response")
    assert await CacheManager.ttl("agent_response", key.resource_id, "acme") == 1800


async def test_without_a_name_it_is_the_function_s(cache: Cache) -> None:
    @cached(ttl=5)
    async def nameless() -> int:
        return 1

    assert await nameless() == 1
    assert nameless.cache_key().data_type == f"{__name__}.{inspect.unwrap(nameless).__qualname__}"


async def test_functions_of_one_data_type_do_not_mix_their_values(cache: Cache) -> None:
    @cached("agent_response")
    async def short(q: str) -> str:
        return "short"

    @cached("agent_response")
    async def long(q: str) -> str:
        return "long"

    assert (await short("q"), await long("q")) == ("short", "long")


@dataclass
class Point:
    x: int
    y: list[int]


class Question(BaseModel):
    text: str
    options: dict[str, int]


async def test_unhashable_and_model_arguments_count_by_their_contents(cache: Cache) -> None:
    calls = Calls()

    @cached("any")
    async def ask(*args: Any, **named: Any) -> list[Any]:
        return await calls.record(args, named)

    question = Question(text="t", options={"a": 1, "b": 2})
    assert await ask([1, {"a": [2]}], Point(1, [2])) == [1]
    assert await ask([1, {"a": [2]}], Point(1, [2])) == [1]
    assert await ask(question, a={1, 2}, b=None) == [2]
    same = Question(text="t", options={"b": 2, "a": 1})
    assert await ask(same, b=None, a={2, 1}) == [2]
    different = [await ask(each) for each in (1, True, "1", 1.0, [1], (1,), None)]
    assert different == [[number] for number in range(3, 10)]


async def test_an_argument_without_contents_is_told_how_to_be_left_out(cache: Cache) -> None:
    class Session:
        pass

    async def rows(session: Session, table: str) -> list[str]:
        return [table]

    with pytest.raises(BadInput, match=r"rows takes session; .* ignore=\('session',\).*Session"):
        await cached("rows")(rows)(Session(), "t")
    with_it = cached("rows", ignore=["session"])(rows)
    assert with_it.cache_key(Session(), "t") == with_it.cache_key(Session(), "t")
    assert await with_it(Session(), "t") == ["t"]


def no_id(*args: Any) -> Any:
    return None


async def test_the_key_may_be_the_caller_s_own(cache: Cache) -> None:
    @cached("weather", key=lambda city, **_: city.lower())
    async def weather(city: str, client: object = None) -> str:
        return city

    assert await weather("Paris", client=object()) == "Paris"
    assert await weather("PARIS") == "Paris"
    assert str(weather.cache_key("Paris")) == "acme:weather:paris"
    assert (await cache.tenant("acme").get("weather", "paris")).value == "Paris"
    with pytest.raises(InvalidKey, match="resource_id is None"):
        await cached("weather", key=no_id)(weather)("Paris")


# --- ttl, policy, tags --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        ({}, 300),
        ({"ttl": None}, math.inf),
        ({"ttl": 0}, math.inf),
        ({"ttl": FOREVER}, math.inf),
        ({"ttl": 1.5}, 1.5),
        ({"policy": Policy(ttl=77)}, 77),
        ({"policy": Policy(ttl=77), "ttl": 7}, 7),
    ],
)
async def test_ttl_left_out_is_by_type_and_none_is_never(
    cache: Cache, options: dict[str, Any], seconds: float
) -> None:
    @cached("agent_response", **options)
    async def respond() -> str:
        return "r"

    await respond()
    await settled()
    found = await cache.tenant("acme").ttl("agent_response", respond.cache_key().resource_id)
    assert found == seconds


@pytest.mark.parametrize("ttl", [-1, True, "300", float("nan")])
def test_a_wrong_ttl_is_refused_where_it_is_written(ttl: Any) -> None:
    with pytest.raises(InvalidTTL, match="ttl is "):
        cached("weather", ttl=ttl)


async def test_a_policy_is_told_to_every_cache_that_is_used(
    cache: Cache, clock: ManualClock
) -> None:
    calls = Calls()

    @cached("quote", policy=Policy(none_ttl=60))
    async def quote() -> None:
        await calls.record()

    for used in (cache, Cache(clock=clock)):
        configure(used)
        await quote()
        await settled()
        await quote()
    assert len(calls) == 2


async def test_tags_name_all_results(cache: Cache) -> None:
    calls = Calls()

    @cached("article", tags=("news",))
    async def article(n: int) -> Loaded[list[int]]:
        return Loaded(await calls.record(n), tags=[f"n{n}"])

    async def all_three() -> list[Any]:
        return [await article(n) for n in range(3)]

    assert await all_three() == await all_three() == [[1], [2], [3]]
    await settled()
    await cache.tenant("acme").invalidate(tag="n1")
    assert await all_three() == [[1], [4], [3]]
    await settled()
    await cache.tenant("acme").invalidate(tag="news")
    assert await all_three() == [[5], [6], [7]]


async def test_none_is_not_a_value(cache: Cache) -> None:
    calls = Calls()

    @cached("maybe")
    async def maybe() -> str | None:
        await calls.record()
        return None

    assert [await maybe(), await maybe()] == [None, None]
    assert len(calls) == 2


async def test_a_result_that_cannot_be_stored_says_so(cache: Cache) -> None:
    @cached("clients")
    async def client() -> dict[str, object]:
        return {"socket": object()}

    with pytest.raises(SerializationError, match=r"value\.socket is an object"):
        await client()


# --- tenants ------------------------------------------------------------------------------------


async def test_the_tenant_is_the_context_s_then_the_process_s(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    @cached("mine")
    async def mine() -> list[int]:
        return await calls.record()

    calls = Calls()
    assert await mine() == [1]
    with Context(tenant_id="other"):
        assert await mine() == [2]
        assert mine.cache_key().tenant == "other"
    assert await mine() == [1]
    monkeypatch.delenv("CASCADA_TENANT")
    with pytest.raises(MissingTenant, match=r"current context.*CASCADA_TENANT"):
        await mine()


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


async def stream() -> AsyncIterator[int]:
    yield 1


def items() -> Iterator[int]:
    yield 1


UNNAMED: Any = items
NO_FUNCTION: Any = 7


@pytest.mark.parametrize("generator", [stream, items])
def test_generators_are_refused_with_what_to_do(generator: Any) -> None:
    with pytest.raises(TypeError, match=r"is a generator.*Tenant\.stream"):
        cached("pieces")(generator)


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
