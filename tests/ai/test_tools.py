"""Tools by what they read and write: what a write has touched is read anew, all else is kept."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from typing import Any

import pytest

from cascada import Cache, Context, Limits, Scope
from cascada.ai import Tools
from cascada.model.errors import BadInput, MissingTenant, WrongLoop
from tests.ai.bank import Bank


async def test_a_result_is_kept_until_what_it_reads_is_written() -> None:
    async with Cache() as cache:
        bank = Bank(cache)
        assert await bank.balances() == await bank.balances() == {"a1": 1, "a2": 2, "b1": 3}
        assert bank.ran["balance"] == 3
        assert await bank.say("transfer", source="a1", target="a2", amount=1) == "done"
        assert await bank.balances() == {"a1": 0, "a2": 3, "b1": 3}
        assert bank.ran["balance"] == 5, "what was not written has stayed"
        assert await bank.say("deposit", account="b1", amount=4) == 7
        assert await bank.say("deposit", account="b1", amount=4) == 11, "it runs each time"
        assert await bank.balances() == {"a1": 0, "a2": 3, "b1": 11}
        assert bank.ran["balance"] == 6


async def test_what_reads_any_is_reached_by_who_writes_one_and_no_other_is() -> None:
    async with Cache() as cache:
        bank = Bank(cache)
        assert await bank.say("accounts") == await bank.say("accounts") == ["a1", "a2", "b1"]
        await bank.balances()
        bank.money["c"] = 0
        await bank.say("deposit", account="c", amount=1)
        assert await bank.say("accounts") == ["a1", "a2", "b1", "c"]
        await bank.balances()
        assert bank.ran == {"accounts": 2, "balance": 3, "deposit": 1}
        await bank.tools.wrote(("account", "*"))
        await bank.balances()
        await bank.say("accounts")
        assert bank.ran == {"accounts": 3, "balance": 6, "deposit": 1}
        await bank.tools.wrote(("account", "a1", Scope(agent="x")), "account:a2")
        await bank.say("accounts")
        assert bank.ran["accounts"] == 4


async def test_a_hundred_calls_at_once_are_one() -> None:
    async with Cache() as cache:
        bank = Bank(cache)
        asked = [bank.say("balance", account="a1") for _ in range(100)]
        assert await asyncio.gather(*asked) == [1] * 100
        assert bank.ran["balance"] == 1


async def test_arguments_are_the_identity_typed_and_in_no_order() -> None:
    async with Cache() as cache:
        bank = Bank(cache)
        bank.money |= {7: 7, "7": 70}  # type: ignore[dict-item]  # a model may mean either
        for _ in range(2):
            assert await bank.tools.call("balance", {"account": "a1", "currency": "EUR"}) == 1
            assert await bank.tools.call("balance", '{"currency": "EUR", "account": "a1"}') == 1
            assert await bank.balance("a1") == await bank.balance(account="a1") == 1
            assert await bank.balance(7) == 7  # type: ignore[arg-type]  # as above
            assert await bank.balance("7") == 70
        assert bank.ran["balance"] == 3
        await bank.say("balance", account="a1", currency="USD")
        assert bank.ran["balance"] == 4


async def test_a_tool_that_reads_and_writes_is_one_that_writes() -> None:
    async with Cache() as cache:
        tools, ran = Tools(cache, tenant="acme"), Counter[str]()

        @tools.reads(("a", "1"))
        @tools.writes(("b", "1"))
        async def one() -> None:
            ran["one"] += 1

        @tools.writes(("b", "1"))
        @tools.reads(("a", "1"))
        async def two() -> None:
            ran["two"] += 1

        async def three() -> None:
            ran["three"] += 1

        tools.add(three, reads=[("a", "1")], writes=[("b", "1")])
        tools.add(three, writes=[("b", "1")])  # said anew, as a notebook does
        assert [*tools] == ["one", "two", "three"]
        await cache.tenant("acme").set("b", "1", "old")
        for name in tools:
            assert await tools.call(name) is None
            assert await tools.call(name, "") is None
            assert ran[name] == 2
        assert not await cache.tenant("acme").get("b", "1")


async def test_what_declares_nothing_runs_each_time_and_what_reads_nothing_once() -> None:
    async with Cache() as cache:
        tools, ran = Tools(cache, tenant="acme"), Counter[str]()

        @tools.add
        async def unknown() -> int:
            ran["unknown"] += 1
            return 1

        @tools.reads()
        def add(a: int, b: int) -> int:
            ran["add"] += 1
            return a + b

        for _ in range(3):
            assert await unknown() == 1
            assert await tools.call("add", {"a": 1, "b": 2}) == 3
        assert ran == {"unknown": 3, "add": 1}


async def test_an_answer_goes_with_what_its_tools_have_read() -> None:
    async with Cache() as cache:
        bank, acme = Bank(cache, tenant=None), cache.tenant("acme")

        async def answer() -> str:
            return f"you have {await bank.say('balance', account='a1')}"

        for _ in range(2):
            assert (await acme.load("answer", "q", answer)).value == "you have 1"
        with Context(tenant_id="acme"):
            await bank.say("deposit", account="b1", amount=1)
            assert await acme.get("answer", "q")
            await bank.say("deposit", account="a1", amount=1)
        assert not await acme.get("answer", "q")
        assert (await acme.load("answer", "q", answer)).value == "you have 2"


@pytest.mark.parametrize("how", ["writes", "declares nothing"])
@pytest.mark.parametrize(("deep", "caches"), [(False, 1), (True, 1), (False, 2)])
async def test_an_answer_that_did_something_is_not_given_again(
    how: str, deep: bool, caches: int
) -> None:
    async with Cache() as cache, Cache() as other:
        acme, ran = cache.tenant("acme"), 0
        tools = Tools(cache if caches == 1 else other, tenant="acme")

        async def send(text: str) -> str:
            nonlocal ran
            ran += 1
            return text

        send = tools.add(send, writes=[] if how == "writes" else None)

        @tools.reads()
        async def hides_it() -> str:
            return await send("a mail")

        async def answer() -> str:
            return await (hides_it() if deep else send("a mail"))

        for _ in range(2):
            hit = await acme.load("answer", "q", answer)
            assert hit.value == "a mail"
            assert not hit.stale
        assert ran == 2
        said = (await acme.explain("answer", "q")).unstored
        assert said == f"made with the tool send, which {how}"

        async def pieces() -> Any:
            yield await send("a mail")

        for _ in range(2):
            assert [each async for each in acme.stream("answer", "s", pieces)] == ["a mail"]
        assert ran == 4


async def test_a_write_of_very_many_is_one_of_all_of_their_type() -> None:
    async with Cache() as cache:
        bank = Bank(cache)
        await bank.balances()
        await cache.tenant("acme").set("other", "a1", "left alone")
        await bank.tools.wrote(*[("account", f"b{each}") for each in range(20_000)])
        await bank.balances()
        assert bank.ran["balance"] == 6
        assert await cache.tenant("acme").get("other", "a1")


async def test_two_tables_may_share_a_tool() -> None:
    async with Cache() as cache:
        bank = Bank(cache)
        own, also = Tools(cache, tenant="acme"), Tools(cache, tenant="acme", data_type="other")
        for tools in (own, also):
            tools.add(bank.balance)
            tools.reads(name="give")(bank.deposit)
            for _ in range(2):
                assert await tools.call("balance", {"account": "a1"}) == bank.money["a1"]
                await tools.call("give", {"account": "a1", "amount": 1})
        assert bank.money["a1"] == 5
        assert [*own] == [*also] == ["balance", "give"]
        assert [*bank.tools] == ["balance", "accounts", "transfer", "deposit"]


async def test_tools_that_one_function_makes_need_names() -> None:
    async with Cache() as cache:
        tools = Tools(cache, tenant="acme")

        def made(said: str) -> Any:
            async def tool() -> str:
                return said

            return tool

        tools.add(made("one"), reads=[])
        with pytest.raises(BadInput, match="called tool already"):
            tools.add(made("two"), reads=[])
        tools.add(made("two"), reads=[], name="two")
        assert [await tools.call(each) for each in tools] == ["one", "two"]


async def test_tenants_are_apart() -> None:
    async with Cache() as cache:
        bank = Bank(cache, tenant=None)
        with pytest.raises(MissingTenant):
            await bank.say("balance", account="a1")
        with pytest.raises(MissingTenant):
            await bank.say("deposit", account="a1", amount=1)
        assert not bank.ran
        for _ in range(2):
            for tenant in ("acme", "globex"):
                with Context(tenant_id=tenant):
                    await bank.say("balance", account="a1")
        assert bank.ran["balance"] == 2
        with Context(tenant_id="acme"):
            await bank.say("deposit", account="a1", amount=1)
        with Context(tenant_id="globex"):
            assert await bank.say("balance", account="a1") == 1, "of its own account"
        with Context(tenant_id="acme"):
            assert await bank.say("balance", account="a1") == 2


async def test_an_argument_that_is_none_names_no_one_in_particular() -> None:
    async with Cache() as cache:
        tools, ran = Tools(cache, tenant="acme"), Counter[str | None]()

        @tools.reads(("project", "{project}"))
        async def tickets(project: str | None = None) -> int:
            ran[project] += 1
            return 1

        @tools.writes(("project", "{project}"))
        async def close(project: str | None = None) -> None: ...

        async def read() -> dict[str | None, int]:
            ran.clear()
            for each in (None, "p1", "p2"):
                await tickets(each)
            return dict(ran)

        await read()
        assert await read() == {}
        await close("p1")
        assert await read() == {None: 1, "p1": 1}
        await close()
        assert await read() == {None: 1, "p1": 1, "p2": 1}


async def test_names_may_be_made_of_several_arguments_or_by_a_function() -> None:
    async with Cache() as cache:
        acme, tools = cache.tenant("acme"), Tools(cache, tenant="acme")

        @tools.writes(
            ("file", "{folder}/{name}"),
            lambda folder, name, also=(): [("file", each) for each in also],
        )
        async def save(folder: str, name: str, also: list[str] | None = None) -> None: ...

        async def proxy(**more: Any) -> None: ...

        tools.add(proxy, name="remote", writes=[("file", "{path}")])
        for call, left in (
            (partial(save, "a", name="b", also=["c", "d"]), ["a/x"]),
            (partial(tools.call, "remote", {"path": "a/b"}), ["c", "a/x"]),
            (partial(tools.call, "remote", {"other": "x"}), []),
        ):
            files = ("a/b", "c", "a/x")
            for each in files:
                await acme.set("file", each, "old")
            await call()
            assert [each for each in files if await acme.get("file", each)] == left


async def test_plain_tools_wait_in_threads() -> None:
    async with Cache() as cache:
        bank = Bank(cache)
        with pytest.raises(WrongLoop, match=r"await tools\.call"):
            bank.deposit("a1", 1)
        assert await asyncio.to_thread(bank.deposit, "a1", 1) == 2
        assert await asyncio.to_thread(bank.accounts) == ["a1", "a2", "b1"]
        with pytest.raises(TypeError, match="amount"):
            await asyncio.to_thread(bank.deposit, "a1")


def test_a_plain_tool_needs_no_loop_and_all_tools_can_be_waited_for() -> None:
    bank = Bank(Cache())
    tools = bank.tools.sync
    assert tools.call("balance", {"account": "a2"}) == 2
    assert tools.call("transfer", '{"source": "a2", "target": "b1", "amount": 1}') == "done"
    assert tools.call("balance", {"account": "a2"}) == 1
    bank.money["a2"] = 8
    tools.wrote(("account", "a2"))
    assert tools.call("balance", {"account": "a2"}) == 8
    assert bank.deposit("a1", 5) == 6
    assert bank.accounts() == ["a1", "a2", "b1"]


class Service:
    def __init__(self, name: str) -> None:
        self.name = name

    async def look(self, what: str) -> str:
        return f"{what} of {self.name}"


async def test_methods_and_what_functions_bring_along() -> None:
    async with Cache() as cache:
        tools, service = Tools(cache, tenant="acme"), Service("one")
        tools.add(service.look, reads=[("x", "{what}")], ignore=["self"])
        tools.add(partial(service.look, "y"), name="part", reads=[("x", "{what}")], ignore=["self"])
        for _ in range(2):
            assert await tools.call("look", {"what": "z"}) == "z of one"
            assert await tools.call("part") == "y of one"
            service.name = "two"
        await tools.wrote(("x", "z"))
        assert await tools.call("look", {"what": "z"}) == "z of two"
        assert await tools.call("part") == "y of one"
        tools.add(service.look, name="opaque", reads=[])
        with pytest.raises(BadInput, match="ignore="):
            await tools.call("opaque", {"what": "z"})


@pytest.mark.parametrize("mode", ["on", "observe", "off"])
async def test_every_mode_answers(mode: Any) -> None:
    async with Cache(mode=mode) as cache:
        bank = Bank(cache)
        for _ in range(2):
            assert await bank.say("balance", account="a1") == 1
        assert bank.ran["balance"] == (1 if mode == "on" else 2)
        with cache.bypass():
            await bank.say("balance", account="a1")
            await bank.say("deposit", account="a1", amount=1)
        assert await bank.say("balance", account="a1") == 2


async def test_more_calls_at_once_than_the_cache_lets_load() -> None:
    async with Cache(limits=Limits(max_loads_per_type=2, load_wait=0.05)) as cache:
        tools = Tools(cache, tenant="acme")

        @tools.reads()
        async def slow(number: int) -> int:
            await asyncio.sleep(0.2)
            return number

        assert await asyncio.gather(*map(slow, range(20))) == list(range(20))
