"""`@cached(key="user:{user_id}", condition=, stale_for=)`, as users of cashews write it."""

import asyncio
import enum
from typing import Any

import numpy
import pytest

from cascada import BadInput, Cache, Context, Loaded, Policy, cached
from cascada.model.errors import Misuse
from cascada.testing.clock import ManualClock


@pytest.fixture(autouse=True)
def tenant(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASCADA_TENANT", "acme")


class Color(enum.StrEnum):
    RED = "red"


async def test_a_template_is_the_id_with_its_arguments_in_it() -> None:
    calls: list[Any] = []

    @cached("user", key="user:{user_id}:{kind}")
    async def user(user_id: int, session: object, kind: str = "short") -> str:
        calls.append(user_id)
        return f"{user_id} {kind}"

    assert user.cache_key(7, object()).text == "acme:user:user%3A7%3Ashort"
    assert await user(7, object()) == await user(session=None, user_id=7) == "7 short"
    assert await user(7, None, "long") == "7 long"
    assert calls == [7, 7], "what the template does not name is no part of the key"
    await user.invalidate(7, object())
    await user(7, object())
    assert calls == [7, 7, 7]
    with Context(tenant_id="globex"):
        assert user.cache_key(7, object()).tenant == "globex"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a:b", "c"), ("a", "b:c")),
        (("a%3Ab", "c"), ("a:b", "c")),
        ((None, "c"), ("None", "c")),
        ((True, "c"), ("True", "c")),
        ((1.5, "c"), ("1.5", "c")),
        (("%%x", "c"), ("x", "c")),
        (({"a": 1}, "c"), ("{'a': 1}", "c")),
        (("ä", "c"), ("%C3%A4", "c")),
    ],
)
async def test_what_differs_has_another_id(one: tuple[Any, Any], other: tuple[Any, Any]) -> None:
    @cached("pair", key="{a}:{b}")
    async def pair(a: Any, b: Any) -> None: ...

    assert pair.cache_key(*one) != pair.cache_key(*other)


async def test_an_id_is_its_plain_value() -> None:
    @cached("user", key="{user}")
    async def user(user: Any) -> None: ...

    for one, other in ((7, "7"), (numpy.int64(7), 7), (Color.RED, "red")):
        assert user.cache_key(one) == user.cache_key(other)


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("user:{id}", "{id}, which is no parameter of"),
        ("user:{user.id}", "{user.id}"),
        ("user:{user[id]}", "{user[id]}"),
        ("user:{user!r}", "{user}"),
        ("user:{user:>9}", "{user}"),
        ("user:{}", "{}"),
        ("user:{0}", "{0}"),
        ("{user}{page}", "nothing between {user} and {page}"),
        ("{user}-x{page}", "nothing between"),
        ("all", "name a parameter"),
        ("user:{user", "no template"),
    ],
)
def test_a_template_names_parameters_and_nothing_else(template: str, says: str) -> None:
    with pytest.raises(Misuse) as caught:

        @cached(key=template)
        async def user(user: str, page: int) -> None: ...

    assert says in str(caught.value)


async def test_braces_may_stand_for_themselves_and_methods_have_templates() -> None:
    class Shop:
        @cached("offer", key="{{offer}}:{product}")
        async def offer(self, product: str) -> str:
            return product

    assert await Shop().offer("hat") == "hat"
    assert Shop().offer.cache_key("hat").resource_id == "{offer}:hat"


async def test_what_nobody_can_see_into_is_refused() -> None:
    @cached("user", key="{session}")
    async def user(session: object) -> None: ...

    with pytest.raises(BadInput, match="object"):
        await user(object())


async def test_a_result_is_kept_if_its_condition_says_so(cache: Cache) -> None:
    calls: list[int] = []
    seen: list[Any] = []

    def as_cashews(result: Any, args: Any, kwargs: Any, key: Any = None) -> bool:
        seen.append((result, args, kwargs, key))
        return bool(result > 1)

    @cached("n", key="n:{n}", condition=as_cashews)
    async def number(n: int, *, by: int = 0) -> int:
        calls.append(n)
        return n

    @cached("m", condition=lambda result: result != "no")
    def plain(word: str) -> Loaded[str]:
        calls.append(0)
        return Loaded(word, tags=("words",))

    for _ in range(2):
        assert await number(1, by=3) == 1
        assert await number(2) == 2
    assert calls == [1, 2, 1]
    assert seen[0] == (1, (1,), {"by": 3}, "acme:n:n%3A1")
    calls.clear()
    for word in ("yes", "no", "yes", "no"):
        assert await plain.aio(word) == word
    assert len(calls) == 3
    await cache.tenant("acme").invalidate(tag="words")
    await plain.aio("yes")
    assert len(calls) == 4, "what is kept is kept as its loader said"


async def test_many_at_once_share_a_result_that_is_not_kept() -> None:
    calls = 0

    @cached("n", condition=lambda result: False)
    async def number() -> int:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.01)
        return calls

    assert await asyncio.gather(*(number() for _ in range(5))) == [1] * 5
    assert await number() == 2


@pytest.mark.parametrize("condition", [lambda: True, lambda one, two: True, 3, "not None"])
def test_a_condition_is_a_function_of_the_result(condition: Any) -> None:
    with pytest.raises(BadInput, match="condition"):
        cached("n", condition=condition)


def test_a_condition_is_not_awaited_and_not_for_streams() -> None:
    async def slow(result: object) -> bool:
        return True

    with pytest.raises(Misuse, match="condition is an async function"):
        cached("n", condition=slow)
    with pytest.raises(Misuse, match="a stream is kept if it ended well"):

        @cached("n", condition=lambda result: True)
        async def stream() -> Any:
            yield 1


async def test_stale_for_is_of_the_type_and_leaves_the_rest_of_its_policy() -> None:
    clock = ManualClock()
    policies = {"n": Policy(ttl=10, max_ttl=20)}
    async with Cache(clock=clock, policies=policies) as cache:
        calls = 0

        @cached("n", stale_for=60, cache=cache)
        async def number() -> int:
            nonlocal calls
            calls += 1
            return calls

        assert await number() == 1
        assert await cache.tenant("acme").ttl("n", number.cache_key().resource_id) == 10
        clock.advance(15)
        assert await number() == 1, "stale, while it is loaded anew"
        for _ in range(100):
            await asyncio.sleep(0)
        assert await number() == 2
        with pytest.raises(BadInput, match="stale_for"):
            cached("n", stale_for=-1)
