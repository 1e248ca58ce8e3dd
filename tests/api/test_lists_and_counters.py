"""Lists and counters as the documents call them, and what they say to bad input."""

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest

from cascada import BadInput, Cache, CacheManager, InvalidKey, SerializationError, TenantList
from tests.api.test_bad_input import TENANTS

COUNTERS = {
    "increment_counter": "counter_type amount resource_id tenant_id metadata scope ttl",
    "get_counter": "scope resource_id tenant_id counter_type",
}
LISTS = {
    "rpush": "list_name value tenant_id",
    "lpush": "list_name value tenant_id",
    "lpop": "list_name tenant_id",
    "rpop": "list_name tenant_id",
    "lrange": "list_name start end tenant_id",
    "llen": "list_name tenant_id",
    "ltrim": "list_name start end tenant_id",
}


@pytest.fixture
def manager() -> CacheManager:
    return CacheManager.get_instance()


@pytest.mark.parametrize(("method", "names"), [*COUNTERS.items(), *LISTS.items()])
def test_arguments_stand_in_the_documents_order(
    manager: CacheManager, method: str, names: str
) -> None:
    assert [*inspect.signature(getattr(manager, method)).parameters] == names.split()


async def test_the_documents_counters(cache: Cache) -> None:
    now = await CacheManager.increment_counter(
        counter_type="api_calls",
        amount=1,
        resource_id="my_endpoint",
        tenant_id="tenant_abc",
        metadata={"status": "success"},
    )
    assert now == 1
    count = await CacheManager.get_counter(
        scope="api_calls", resource_id="my_endpoint", tenant_id="tenant_abc"
    )
    assert count == 1


async def test_both_words_for_the_type_and_both_ways_of_calling(
    cache: Cache, manager: CacheManager
) -> None:
    where: Any = {"resource_id": 7, "tenant_id": "acme"}
    assert await manager.increment_counter("calls", 5, **where) == 5
    assert await CacheManager.increment_counter(scope="calls", **where) == 6
    assert await manager.increment_counter(counter_type="calls", scope="calls", **where) == 7
    assert await CacheManager.get_counter("calls", "7", "acme") == 7
    assert await manager.get_counter(counter_type="calls", **where) == 7
    assert await manager.increment_counter("calls", -7, 7, "acme") == 0
    assert await CacheManager.get_counter("never", 7, "acme") == 0


@pytest.mark.parametrize("call", [CacheManager.increment_counter, CacheManager.get_counter])
async def test_two_words_that_disagree(cache: Cache, call: Callable[..., Awaitable[int]]) -> None:
    with pytest.raises(BadInput, match="counter_type is 'a' and scope is 'b'; they mean the same"):
        await call(counter_type="a", scope="b", resource_id="r", tenant_id="acme")


async def test_the_documents_lists(cache: Cache, manager: CacheManager) -> None:
    assert await manager.rpush("inbox", {"n": 1}, "acme") == 1
    assert await manager.rpush(list_name="inbox", value=(2, b"two"), tenant_id="acme") == 2
    assert await manager.lpush("inbox", None, "acme") == 3
    assert await manager.lrange("inbox", 0, -1, "acme") == [None, {"n": 1}, (2, b"two")]
    assert await manager.lrange("inbox", -2, 1, "acme") == [{"n": 1}]
    assert await manager.llen("inbox", "acme") == 3
    await manager.ltrim("inbox", 1, -1, "acme")
    assert await manager.rpop("inbox", "acme") == (2, b"two")
    assert await manager.lpop("inbox", "acme") == {"n": 1}
    assert await manager.lpop("inbox", "acme") is None
    assert await manager.rpop("inbox", "acme") is None
    assert await manager.llen("inbox", "acme") == 0


@pytest.mark.parametrize("method", LISTS)
def test_on_the_class_a_list_says_how_to_call_it(method: str) -> None:
    call = getattr(CacheManager, method)
    for arguments in [(), ("inbox", "acme"), ("inbox", 1, "acme"), ("inbox", 0, -1, "acme")]:
        with pytest.raises(TypeError, match=rf"call CacheManager\.get_instance\(\)\.{method}\("):
            call(*arguments)
    assert call.__doc__ == getattr(CacheManager.get_instance(), method).__doc__


async def test_what_one_caller_changes_no_other_gets(cache: Cache) -> None:
    inbox = cache.tenant("acme").list("inbox")
    mine = {"parts": [1]}
    await inbox.rpush(mine)
    mine["parts"].append(2)
    (theirs,) = await inbox.range()
    theirs["parts"].append(3)
    assert await inbox.lpop() == {"parts": [1]}


async def test_metadata_goes_to_the_log_at_debug_and_nowhere_else(
    cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    acme = cache.tenant("acme")
    with caplog.at_level(logging.DEBUG, "cascada"):
        await acme.increment("calls", "a:b", 3, metadata={"status": "success"})
        await acme.increment("calls", "a:b")
    said = [(r.levelname, r.getMessage()) for r in caplog.records if "counter " in r.getMessage()]
    assert said == [("DEBUG", "counter acme:calls:a%3Ab: +3, {'status': 'success'}")]


# --- bad input --------------------------------------------------------------------------------

CALLS: dict[str, Callable[..., Awaitable[Any]]] = {
    "increment_counter": lambda tenant: CacheManager.increment_counter("c", 1, "r", tenant),
    "get_counter": lambda tenant: CacheManager.get_counter("c", "r", tenant),
    "rpush": lambda tenant: CacheManager.get_instance().rpush("l", 1, tenant),
    "lpush": lambda tenant: CacheManager.get_instance().lpush("l", 1, tenant),
    "lpop": lambda tenant: CacheManager.get_instance().lpop("l", tenant),
    "rpop": lambda tenant: CacheManager.get_instance().rpop("l", tenant),
    "lrange": lambda tenant: CacheManager.get_instance().lrange("l", 0, -1, tenant),
    "llen": lambda tenant: CacheManager.get_instance().llen("l", tenant),
    "ltrim": lambda tenant: CacheManager.get_instance().ltrim("l", 0, -1, tenant),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("tenant", "error", "sentence"), TENANTS)
async def test_tenants(
    cache: Cache, call: str, tenant: Any, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error) as caught:
        await CALLS[call](tenant)
    assert sentence in str(caught.value)


LONG = "x" * 1025
NAMES = [
    (None, "{} is None (NoneType)"),
    ("", '{} is ""; pass a non-empty id'),
    (True, "{} is True (bool); pass a str"),
    (1.5, "{} is 1.5 (float); pass a str"),
    (b"inbox", "{} is b'inbox' (bytes); pass a str"),
    ("\ud800", "{} is '\\ud800': it holds a lone surrogate"),
    (LONG, "{} has 1025 characters, at most 1024 are allowed"),
]


@pytest.mark.parametrize(("wrong", "sentence"), NAMES)
@pytest.mark.parametrize("what", ["list_name", "counter_type", "resource_id"])
async def test_names(cache: Cache, what: str, wrong: Any, sentence: str) -> None:
    acme, manager = cache.tenant("acme"), CacheManager.get_instance()
    calls: list[Callable[[], Any]] = [
        lambda: acme.list(wrong),
        lambda: manager.rpush(wrong, 1, "acme"),
        lambda: manager.lrange(wrong, 0, -1, "acme"),
    ]
    if what == "counter_type":
        calls = [
            lambda: acme.increment(wrong, "r"),
            lambda: acme.counter(wrong, "r"),
            lambda: manager.increment_counter(wrong, 1, "r", "acme"),
            lambda: manager.get_counter(wrong, "r", "acme"),
        ]
    elif what == "resource_id":
        calls = [
            lambda: acme.increment("c", wrong),
            lambda: acme.counter("c", wrong),
            lambda: manager.increment_counter("c", 1, wrong, "acme"),
            lambda: manager.get_counter("c", wrong, "acme"),
        ]
    for call in calls:
        with pytest.raises(InvalidKey) as caught:
            await call()
        assert sentence.format(what) in str(caught.value)


async def test_ids_that_are_one_text_are_one_name(cache: Cache) -> None:
    acme, uuid = cache.tenant("acme"), UUID(int=7)
    await acme.increment("c", 7)
    assert await acme.counter("c", "7") == 1
    await acme.list(uuid).rpush("item")
    assert await acme.list(str(uuid)).length() == 1
    with pytest.raises(InvalidKey, match="counter_type is 7 \\(int\\); pass a str"):
        await acme.counter(7, "r")  # type: ignore[arg-type]


NUMBERS = [
    (1.0, "{} is 1.0 (float); pass an int"),
    ("1", "{} is '1' (str); pass an int"),
    (True, "{} is True (bool); pass an int"),
    (None, "{} is None (NoneType); pass an int"),
    (2**63, "{} is 9223372036854775808; pass an int from -9223372036854775808 to"),
    (-(2**63) - 1, "{} is -9223372036854775809; pass an int from -9223372036854775808 to"),
    pytest.param(10**5000, "{} is an int of 16610 bits; pass an int from", id="5000 digits"),
]


@pytest.mark.parametrize(("wrong", "sentence"), NUMBERS)
@pytest.mark.parametrize("what", ["amount", "start", "end"])
async def test_numbers(cache: Cache, what: str, wrong: Any, sentence: str) -> None:
    acme, manager = cache.tenant("acme"), CacheManager.get_instance()
    inbox = acme.list("inbox")
    await inbox.rpush("item")
    indices: Any = (wrong, -1) if what == "start" else (0, wrong)
    calls: list[Callable[[], Any]] = [
        lambda: inbox.range(*indices),
        lambda: inbox.trim(*indices),
        lambda: manager.lrange("inbox", *indices, "acme"),
        lambda: manager.ltrim("inbox", *indices, "acme"),
    ]
    if what == "amount":
        calls = [
            lambda: acme.increment("c", "r", wrong),
            lambda: manager.increment_counter("c", wrong, "r", "acme"),
        ]
    for call in calls:
        with pytest.raises(BadInput) as caught:
            await call()
        assert sentence.format(what) in str(caught.value)
    assert await acme.counter("c", "r") == 0
    assert await inbox.range() == ["item"]


async def test_a_counter_that_would_leave_64_bits(cache: Cache) -> None:
    acme = cache.tenant("acme")
    await acme.increment("c", "r", 2**63 - 1)
    with pytest.raises(BadInput, match="the counter acme:c:r plus 1 would leave 64 bits"):
        await acme.increment("c", "r")
    assert await acme.counter("c", "r") == 2**63 - 1


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (object(), "value is an object, which would not come back as it is"),
        ({"a": [1, {"b": iter([])}]}, "value.a[1].b is a list_iterator"),
        ({"text": "\ud800"}, "lone surrogate"),
    ],
)
async def test_values_that_cannot_be_kept(cache: Cache, value: Any, sentence: str) -> None:
    inbox = cache.tenant("acme").list("inbox")
    for push in (inbox.rpush, inbox.lpush):
        with pytest.raises(SerializationError) as caught:
            await push(value)
        assert sentence in str(caught.value)
    assert await inbox.length() == 0


def test_a_list_is_named_by_its_tenant_and_name(cache: Cache) -> None:
    inbox = cache.tenant("acme", agent="a1").list("in:box")
    assert isinstance(inbox, TenantList)
    assert repr(inbox) == "TenantList('acme:in%3Abox')"
