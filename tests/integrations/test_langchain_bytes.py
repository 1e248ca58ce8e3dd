"""LangChain's store of bytes, and what its classes take."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.outputs import Generation

from cascada import Cache, Context, Policy
from cascada.integrations.langchain import DATA_TYPE, CascadaByteStore, CascadaCache
from cascada.model.errors import BadInput, InvalidKey
from cascada.testing.inside import inside

GLOBEX = Context(tenant_id="globex")


async def test_bytes_are_of_one_tenant_and_may_go(cache: Cache) -> None:
    store = CascadaByteStore(cache, tenant="acme", tags=["news"])
    await store.amset([("a", b"1"), ("b", b"")])
    assert await store.amget(["a", "b", "c"]) == [b"1", b"", None]
    assert await asyncio.to_thread(store.mget, ["b", "a"]) == [b"", b"1"]
    with GLOBEX:
        assert await store.amget(["a"]) == [None]
    await store.amdelete(["a", "x"])
    assert await store.amget(["a", "b"]) == [None, b""]
    await cache.tenant("acme").invalidate(tag="news")
    assert await store.amget(["b"]) == [None]
    assert await store.amget([]) == []
    await store.amset([])
    await store.amdelete([])
    assert await store.amget(["again"]) == [None]
    await store.amdelete(["again"])
    await store.amset([("again", b"1")])
    assert await store.amget(["again"]) == [b"1"]
    many = [(f"n{number}", b"%d" % number) for number in range(1001)]
    await store.amset([*many, ("n1", b"last")])
    assert (await store.amget([key for key, _ in many]))[:3] == [b"0", b"last", b"2"]
    await store.amdelete([key for key, _ in many])
    assert set(await store.amget([key for key, _ in many])) == {None}


async def test_bytes_that_are_none_are_refused_before_any_is_stored(cache: Cache) -> None:
    store = CascadaByteStore(cache, tenant="acme")
    odd: list[Any] = ["b", b"b", ("b",), ("b", "text"), ("b", None), ("", b"1"), (None, b"1")]
    for pair in odd:
        with pytest.raises(BadInput):
            await store.amset([("a", b"1"), pair])
    with pytest.raises(InvalidKey):
        await store.amget([""])
    with pytest.raises(BadInput):
        await store.amget("ab")
    assert await store.amget(["a"]) == [None]


async def test_keys_are_not_listed(cache: Cache) -> None:
    store = CascadaByteStore(cache, tenant="acme")
    with pytest.raises(NotImplementedError, match="lists no keys"):
        store.yield_keys()
    with pytest.raises(NotImplementedError, match="lists no keys"):
        [each async for each in store.ayield_keys()]


# --- the door -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how",
    [{"wait": 0}, {"wait": True}, {"ttl": -1}, {"tags": "news"}, {"tenant": ""}, {"data_type": 3}],
)
def test_what_is_passed_is_checked(how: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        CascadaCache(Cache(), **how)
    with pytest.raises(BadInput):
        CascadaCache("redis://localhost")  # type: ignore[arg-type]  # on purpose


async def test_ttl_and_policy_say_how_long(cache: Cache) -> None:
    cache.set_policy(DATA_TYPE, Policy(ttl=60))
    for given, seconds in ((None, 60), (5, 5)):
        of_langchain = CascadaCache(cache, tenant="acme", ttl=given)
        await of_langchain.aclear()
        await of_langchain.aupdate("p", "l", [Generation(text="a")])
        (record,) = inside(cache).memory.records
        ttl = await cache.tenant("acme").ttl(DATA_TYPE, record.resource_id)
        assert ttl == pytest.approx(seconds, abs=1)
