"""LangGraph's cache: a node runs once for all who ask at once; what it wrote comes back whole."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any, TypedDict

import pytest
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.types import CachePolicy, interrupt

from cascada import Cache, Context
from cascada.integrations.langgraph import CascadaCache
from cascada.model.errors import MissingTenant
from cascada.testing import ManualClock
from cascada.testing.inside import turns_of
from tests.integrations.chat import Busy
from tests.servers.redis import RedisServer

GLOBEX = Context(tenant_id="globex")
A, B = (("a",), "k"), (("b",), "k")


class State(TypedDict, total=False):
    asked: str
    said: str


class Both(State, total=False):
    one: str
    other: str


@dataclasses.dataclass
class Own:
    x: int


class Node:
    """A node that counts its runs, and says what `behave` does with their number."""

    def __init__(self, behave: Callable[[int], str] = str, pause: float = 0.05) -> None:
        self.runs = 0
        self.behave = behave
        self.pause = pause

    async def __call__(self, state: State) -> State:
        self.runs += 1
        number = self.runs
        await asyncio.sleep(self.pause)
        return {"said": self.behave(number)}


def graph(cache: CascadaCache[Any], *nodes: Any) -> Any:
    builder = StateGraph(State)
    for number, node in enumerate(nodes):
        builder.add_node(f"n{number}", node, cache_policy=CachePolicy(ttl=60))
        builder.add_edge(START, f"n{number}")
        builder.add_edge(f"n{number}", END)
    return builder.compile(cache=cache)


async def outcomes(graph: Any, times: int, asked: str = "hi") -> list[Any]:
    runs = [graph.ainvoke({"asked": asked}) for _ in range(times)]
    found = await asyncio.gather(*runs, return_exceptions=True)
    return [each if isinstance(each, BaseException) else each["said"] for each in found]


async def test_a_hundred_equal_runs_at_once_are_one(cache: Cache) -> None:
    kept: CascadaCache[Any] = CascadaCache(cache, tenant="acme")
    node = Node()
    run = graph(kept, node)
    assert await outcomes(run, 100) == ["1"] * 100
    assert await outcomes(run, 1) == ["1"]
    assert await outcomes(run, 1, "another question") == ["2"]
    assert node.runs == 2
    assert not turns_of(kept)


async def test_where_the_leader_fails_or_is_cancelled_the_next_one_leads(cache: Cache) -> None:
    def behave(number: int) -> str:
        if number <= 3:
            raise Busy("429")
        return str(number)

    kept: CascadaCache[Any] = CascadaCache(cache, tenant="acme")
    node = Node(behave, pause=0.02)
    found = await outcomes(graph(kept, node), 50)
    assert sum(isinstance(each, Busy) for each in found) == 3
    assert found.count("4") == 47

    node = Node(pause=0.1)
    run = graph(kept, node)
    leader = asyncio.create_task(run.ainvoke({"asked": "ho"}))
    others = asyncio.create_task(outcomes(run, 10, "ho"))
    await asyncio.sleep(0.05)
    leader.cancel()
    assert await others == ["2"] * 10
    with pytest.raises(asyncio.CancelledError):
        await leader
    assert not turns_of(kept)


async def test_a_task_that_goes_on_after_a_failed_run_is_not_waited_for_for_ever(
    cache: Cache,
) -> None:
    def behave(number: int) -> str:
        if number == 1:
            raise Busy("429")
        return str(number)

    kept: CascadaCache[Any] = CascadaCache(cache, tenant="acme", wait=0.2)
    run = graph(kept, Node(behave))
    over = asyncio.Event()

    async def worker() -> list[Any]:
        first = await outcomes_here("hi")
        await over.wait()
        return first

    async def outcomes_here(asked: str) -> list[Any]:
        try:
            return [await run.ainvoke({"asked": asked})]
        except Busy as error:
            return [error]

    task = asyncio.create_task(worker())
    await asyncio.sleep(0.1)
    async with asyncio.timeout(5):
        assert await outcomes(run, 5) == ["2"] * 5
    over.set()
    assert isinstance((await task)[0], Busy)
    # It may ask again itself, at once.
    assert isinstance(await run.ainvoke({"asked": "hi"}), dict)
    assert not turns_of(kept)


async def test_nodes_of_one_step_are_each_looked_for(cache: Cache) -> None:
    def said(name: str) -> Callable[[State], State]:
        def node(state: State) -> State:
            ran.append(name)
            return {name: state["asked"]}  # type: ignore[misc]  # a name of the state

        return node

    ran: list[str] = []
    builder = StateGraph(State)
    builder.add_node("again", lambda state: {"asked": "later"})
    builder.add_node("one", said("said"), cache_policy=CachePolicy())
    builder.add_edge(START, "one")
    builder.add_edge("one", "again")
    builder.add_edge("again", END)
    run = builder.compile(cache=CascadaCache(cache, tenant="acme"))
    assert await run.ainvoke({"asked": "x"}) == {"asked": "later", "said": "x"}
    assert await asyncio.to_thread(run.invoke, {"asked": "x"}) == {"asked": "later", "said": "x"}
    assert ran == ["said"]


async def test_functions_with_task_are_kept_though_nobody_waits_for_them(cache: Cache) -> None:
    @task(cache_policy=CachePolicy(ttl=60))
    async def twice(number: int) -> int:
        ran.append(number)
        await asyncio.sleep(0.02)
        return 2 * number

    @entrypoint(cache=CascadaCache(cache, tenant="acme"))
    async def flow(number: int) -> int:
        one, other = twice(number), twice(number + 1)
        return await one + await other

    ran: list[int] = []
    assert await asyncio.gather(*[flow.ainvoke(1) for _ in range(5)]) == [6] * 5
    before = len(ran)
    assert await flow.ainvoke(1) == 6
    assert len(ran) == before


async def test_what_is_interrupted_is_not_kept(cache: Cache) -> None:
    async def node(state: State) -> State:
        ran.append(1)
        return {"said": interrupt("who?")}

    ran: list[int] = []
    kept: CascadaCache[Any] = CascadaCache(cache, tenant="acme", wait=0.1)
    run = graph(kept, node)
    assert "__interrupt__" in await run.ainvoke({"asked": "x"})
    assert "__interrupt__" in await run.ainvoke({"asked": "x"})
    assert len(ran) == 2


async def test_who_waits_for_what_cannot_be_kept_goes_on_at_once(cache: Cache) -> None:
    kept: CascadaCache[Any] = CascadaCache(cache, tenant="acme")

    async def node(state: State) -> State:
        await asyncio.sleep(0.2)
        return {"said": Own(1)}  # type: ignore[typeddict-item]  # on purpose

    async with asyncio.timeout(5):
        assert await outcomes(graph(kept, node), 40) == [Own(1)] * 40


async def test_what_is_kept_is_of_one_tenant(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: CascadaCache[Any] = CascadaCache(cache, tenant="acme")
    await kept.aset({A: (1, None)})
    with GLOBEX:
        assert await kept.aget([A]) == {}
        await kept.aset({A: (2, None)})
        await kept.aclear()
    assert await kept.aget([A]) == {A: 1}
    monkeypatch.delenv("CASCADA_TENANT", raising=False)
    with pytest.raises(MissingTenant):
        await CascadaCache[Any](cache).aget([A])


def plain_graph(kept: CascadaCache[Any], ran: list[str]) -> Any:
    """Two nodes of one step, which LangGraph runs in threads of its own."""

    def node(name: str) -> Callable[[State], dict[str, str]]:
        def run(state: State) -> dict[str, str]:
            ran.append(name)
            time.sleep(0.02)
            return {name: f"{name} of {state['asked']}"}

        return run

    builder = StateGraph(Both)
    for name in ("one", "other"):
        builder.add_node(name + "_", node(name), cache_policy=CachePolicy(ttl=60))
        builder.add_edge(START, name + "_")
    return builder.compile(cache=kept)


def test_what_threads_of_a_plain_graph_store_is_of_who_runs_it() -> None:
    """LangGraph stores what they wrote from threads that know no context."""
    ran: list[str] = []
    run = plain_graph(CascadaCache(Cache(), tenant="initech"), ran)
    wanted = {"asked": "x", "one": "one of x", "other": "other of x"}
    for tenant in ("acme", "globex", None):
        with Context(tenant_id=tenant) if tenant else nullcontext():
            for _ in range(2):
                assert run.invoke({"asked": "x"}) == wanted
        assert len(ran) == 2
        ran.clear()


def test_what_threads_began_before_a_clear_is_not_kept() -> None:
    ran: list[str] = []
    kept: CascadaCache[Any] = CascadaCache(Cache(), tenant="acme")
    run = plain_graph(kept, ran)
    with ThreadPoolExecutor(2) as threads:
        for _ in range(5):
            first = threads.submit(run.invoke, {"asked": "x"})
            while not ran:
                time.sleep(0.001)
            kept.clear()
            second = threads.submit(run.invoke, {"asked": "x"})
            first.result()
            second.result()
            before = len(ran)
            run.invoke({"asked": "x"})
            assert len(ran) == before, "the second one is newer than the clearing"
            kept.clear()
            ran.clear()


async def test_clear_reaches_a_namespace_or_all(cache: Cache) -> None:
    kept: CascadaCache[Any] = CascadaCache(cache, tenant="acme")
    deeper = (("a", "b"), "k")
    pairs: dict[Any, Any] = {A: (1, None), B: (2, None), deeper: (3, None)}
    await kept.aset(pairs)
    await kept.aclear([("a",)])
    assert await kept.aget(list(pairs)) == {B: 2, deeper: 3}
    await asyncio.to_thread(kept.clear, [("b",), ("x",)])
    assert await kept.aget(list(pairs)) == {deeper: 3}
    await kept.aclear([])
    assert await kept.aget(list(pairs)) == {deeper: 3}
    await kept.aclear()
    assert await kept.aget(list(pairs)) == {}


async def test_what_was_cleared_meanwhile_is_not_kept(cache: Cache) -> None:
    kept: CascadaCache[Any] = CascadaCache(cache, tenant="acme")
    node = Node(pause=0.1)
    run = graph(kept, node)
    under_way = asyncio.create_task(outcomes(run, 5))
    await asyncio.sleep(0.05)
    await run.aclear_cache()
    assert sorted(set(await under_way)) == ["1", "2"]
    assert await outcomes(run, 1) == ["2"]

    waits = asyncio.to_thread
    assert await waits(kept.get, [A]) == {}
    await waits(kept.clear)
    await waits(kept.set, {A: (1, None)})
    assert await waits(kept.get, [A]) == {}
    await waits(kept.set, {A: (2, None)})
    await waits(kept.set, {A: (3, None)})
    assert await waits(kept.get, [A]) == {A: 3}


async def test_ttl_is_that_of_the_nodes_policy_else_of_the_type() -> None:
    clock = ManualClock()
    async with Cache(clock=clock) as cache:
        kept: CascadaCache[Any] = CascadaCache(cache, tenant="acme", ttl=50)
        await kept.aset({A: (1, 5), B: (2, None), (("c",), "k"): (3, 0)})
        assert await kept.aget([A, B, (("c",), "k")]) == {A: 1, B: 2}
        clock.advance(6)
        assert await kept.aget([A, B]) == {B: 2}
        clock.advance(50)
        assert await kept.aget([A, B]) == {}


async def test_another_process_has_it(redis_server: RedisServer) -> None:
    redis_server.flush()
    async with Cache(redis=redis_server.url) as one, Cache(redis=redis_server.url) as other:
        first, second = Node(), Node()
        assert await outcomes(graph(CascadaCache(one, tenant="acme"), first), 10) == ["1"] * 10
        assert await outcomes(graph(CascadaCache(other, tenant="acme"), second), 10) == ["1"] * 10
        assert (first.runs, second.runs) == (1, 0)
