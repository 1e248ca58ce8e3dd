"""What is easily written instead of what is meant is told, in the words of what is meant."""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from cascada import (
    BadInput,
    Cache,
    Hit,
    Miss,
    Policy,
    SerializationError,
    Tenant,
    cached,
    configure,
    get_with_cache_aside,
    with_context,
)

Call = Callable[[Tenant], Awaitable[Any]]


async def row() -> int:
    return 1


async def pieces() -> AsyncIterator[int]:
    yield 1


def upper(ids: list[str]) -> dict[str, str]:
    return {each: each.upper() for each in ids}


MISTAKES: list[tuple[Call, type[Exception], str]] = [
    (
        lambda acme: acme.load("x", "1", row()),  # type: ignore[arg-type]
        TypeError,
        r"row was given as a coroutine; pass the function, or lambda: row\(\.\.\.\)",
    ),
    (
        lambda acme: anext(acme.stream("x", "1", pieces())),  # type: ignore[arg-type]
        TypeError,
        r"pieces was given as an async_generator; pass the function",
    ),
    (
        lambda acme: acme.set("x", "1", Hit("a value", "l1")),
        SerializationError,
        "is a cascada.model.entry.Hit, .*; pass what it holds: hit.value if hit else None",
    ),
    (
        lambda acme: acme.set("x", "1", Miss()),
        SerializationError,
        "is a cascada.model.entry.Miss, .*; pass what it holds: hit.value if hit else None",
    ),
    (
        lambda acme: acme.load_many("x", "abc", upper),
        BadInput,
        "resource_ids is 'abc'; pass a list of ids",
    ),
    (lambda acme: acme.get_many("x", "abc"), BadInput, "resource_ids is 'abc'; pass a list of ids"),
    (lambda acme: acme.cascade(agent="a1"), BadInput, "names no subject; pass one"),
    (
        lambda acme: acme.cascade("agent", agent="a1", conversation="c7"),
        BadInput,
        "nothing of the cascade of agent is reached by conversation; leave it out, or name",
    ),
]


@pytest.mark.parametrize(("call", "error", "sentence"), MISTAKES)
async def test_a_mistake_is_told(
    cache: Cache, call: Call, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        await call(cache.tenant("acme"))


def test_a_database_that_can_be_no_tier_is_told_from_what_loaders_read() -> None:
    with pytest.raises(BadInput, match=r"SQLite alone can be a tier .*; pass sqlite:"):
        Cache(database="postgresql+asyncpg://db/shop")


async def test_an_answer_is_shown_in_a_line_without_what_is_kept_for_the_next_one(
    cache: Cache,
) -> None:
    shown = repr(await cache.tenant("acme").load("x", "1", lambda: "a value"))
    assert "origin=Origin(acme:x:1, 8 B, lifetime=" in shown
    assert len(shown) < 120


@pytest.mark.parametrize("key", ["acme:x:1", ("acme", "x", None, None, None, "1")])
async def test_a_key_is_made_by_a_tenant(cache: Cache, key: Any) -> None:
    with pytest.raises(BadInput, match=r"pass a key that tenant\.key"):
        await cache.get(key)


@pytest.mark.parametrize("named", ["policies", "default_policy"])
def test_a_policy_is_no_dict(named: str) -> None:
    given: Any = {"ttl": 60}
    arguments = {named: {"plan": given} if named == "policies" else given}
    with pytest.raises(BadInput, match=r"the policy of '\w+' is {'ttl': 60}; pass a Policy"):
        Cache(**arguments)
    assert Cache(policies={"plan": Policy(ttl=60)})


def test_a_context_is_asked_for_in_parentheses() -> None:
    with pytest.raises(TypeError, match=r"write @with_context\(\)"):
        with_context(row)  # type: ignore[arg-type]


async def judge(*given: Any) -> Any:
    raise AssertionError("nobody awaits this")


class Judge:
    async def __call__(self, *given: Any) -> Any:
        raise AssertionError("nobody awaits this")


@pytest.mark.parametrize("function", [judge, Judge(), partial(judge, 1), pieces])
async def test_what_is_called_and_not_awaited_is_no_async_function(
    cache: Cache, function: Any
) -> None:
    """It would never run: a check of tenants, for one, would let everybody in."""
    configure(cache)
    for use in (
        lambda: Cache(tenant_validator=function),
        lambda: Cache(observers=[function]),
        lambda: cached("x", key=function),
    ):
        with pytest.raises(TypeError, match=r"async function, .* pass a plain one"):
            use()
    for named in ({"serializer": function}, {"deserializer": function}):
        with pytest.raises(TypeError, match=r"async function, .* pass a plain one"):
            await get_with_cache_aside("x", "1", "acme", row, **named)
