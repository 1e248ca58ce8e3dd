"""`@cached` on async functions: their keys, ttl, policies and tenants."""

import inspect
import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy
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
    cached,
    configure,
    generate_resource_id_hash,
)
from cascada.testing.clock import ManualClock
from tests.api.calls import Calls
from tests.api.settled import settled


@pytest.fixture(autouse=True)
def tenant(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASCADA_TENANT", "acme")


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


async def test_the_same_value_for_another_argument_is_another_call(cache: Cache) -> None:
    @cached("pair")
    async def pair(a: int = 0, b: int = 0) -> list[int]:
        return [a, b]

    assert [await pair(a=1), await pair(b=1), await pair(1)] == [[1, 0], [0, 1], [1, 0]]
    assert [await pair(b=2, a=1), await pair(a=2, b=1)] == [[1, 2], [2, 1]]


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
    async def short(seq: str) -> str:
        return "short"

    @cached("agent_response")
    async def long(seq: str) -> str:
        return "long"

    assert (await short("q"), await long("q")) == ("short", "long")


@dataclass
class Point:
    x: int
    y: list[int]


class Request(BaseModel):
    text: str
    options: dict[str, int]


async def test_unhashable_and_model_arguments_count_by_their_contents(cache: Cache) -> None:
    calls = Calls()

    @cached("any")
    async def ask(*args: Any, **named: Any) -> list[Any]:
        return await calls.record(args, named)

    question = Request(text="t", options={"a": 1, "b": 2})
    assert await ask([1, {"a": [2]}], Point(1, [2])) == [1]
    assert await ask([1, {"a": [2]}], Point(1, [2])) == [1]
    assert await ask(question, a={1, 2}, b=None) == [2]
    same = Request(text="t", options={"b": 2, "a": 1})
    assert await ask(same, b=None, a={2, 1}) == [2]
    different = [await ask(each) for each in (1, True, "1", 1.0, [1], (1,), None)]
    assert different == [[number] for number in range(3, 10)]


async def test_keys_are_remembered_within_bounds(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def counting(identity: str, **arguments: Any) -> str:
        made.append(arguments["city"])
        return generate_resource_id_hash(identity, **arguments)

    monkeypatch.setattr("cascada.api.cached.function.generate_resource_id_hash", counting)
    monkeypatch.setattr("cascada.api.cached.function.MAX_KEYS", 3)

    @cached("weather")
    async def weather(city: str) -> str:
        return city

    for city in "abcabca":
        assert await weather(city) == city
    assert made == ["a", "b", "c"], "made once each"
    for city in "dabcd":
        assert await weather(city) == city
    assert len(made) > 4, "of four keys at most three are remembered"


async def test_a_key_of_the_caller_s_own_may_depend_on_more_than_the_arguments(
    cache: Cache,
) -> None:
    language = "en"

    @cached("weather", key=lambda city: f"{city}-{language}")
    async def weather(city: str) -> str:
        return f"{city} in {language}"

    assert await weather("Paris") == "Paris in en"
    language = "fr"
    assert await weather("Paris") == "Paris in fr"


async def test_an_argument_without_contents_is_told_how_to_be_left_out(cache: Cache) -> None:
    class Session:
        pass

    async def rows(session: Session, table: str) -> list[str]:
        return [table]

    with pytest.raises(BadInput, match=r"rows takes session: .*Session.* ignore=\('session',\)"):
        await cached("rows")(rows)(Session(), "t")
    with_it = cached("rows", ignore=["session"])(rows)
    assert with_it.cache_key(Session(), "t") == with_it.cache_key(Session(), "t")
    assert await with_it(Session(), "t") == ["t"]


@pytest.mark.parametrize(
    "data", [memoryview(b"abc"), numpy.array([None]), [object()], iter(()), lambda: 1]
)
async def test_data_is_never_told_to_be_left_out(cache: Cache, data: Any) -> None:
    """All results would be one."""

    async def rows(data: object) -> int:
        return 1

    with pytest.raises(BadInput, match=r"rows takes data: .* with key=") as caught:
        await cached("rows")(rows)(data)
    assert "ignore" not in str(caught.value)


async def test_arguments_of_two_classes_have_two_results(cache: Cache) -> None:
    class Metres(NamedTuple):
        n: int

    class Feet(NamedTuple):
        n: int

    @cached("length")
    async def length(of: Any) -> str:
        return type(of).__name__

    for given in (Metres(1), Feet(1), numpy.array([1]), numpy.array([1], ">i8"), [1]):
        assert await length(given) == type(given).__name__
    winter = datetime(2024, 1, 1, tzinfo=ZoneInfo("Europe/Berlin"))
    assert length.cache_key(winter) != length.cache_key(winter.astimezone(ZoneInfo("Africa/Lagos")))


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


async def test_a_result_that_cannot_be_stored_goes_to_its_caller(cache: Cache) -> None:
    made: list[dict[str, object]] = []

    @cached("clients")
    async def client() -> dict[str, object]:
        made.append({"socket": object()})
        return made[-1]

    assert await client() is made[0]
    assert await client() is made[1]


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


async def test_a_tenant_that_is_refused_gets_no_hit_either(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = set()

    def validate(tenant: str) -> None:
        if tenant in refused:
            raise PermissionError(f"{tenant} has left")

    async with Cache(tenant_validator=validate) as own:

        @cached("mine", cache=own)
        async def mine() -> str:
            return "mine"

        assert await mine() == "mine"
        refused.add("acme")
        with pytest.raises(PermissionError, match="acme has left"):
            await mine()
