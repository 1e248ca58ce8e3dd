"""The current request's context, and whose tenant it is."""

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncGenerator
from uuid import UUID

import pytest

from cascada import Cache, Context, InvalidKey, MissingTenant
from cascada.api.context import current_context, current_tenant
from cascada.api.keeping import asking_tenant
from cascada.testing.inside import Inside


def test_a_context_gives_canonical_ids() -> None:
    context = Context(
        tenant_id=7,
        agent_id=UUID(int=1),
        conversation_id="c",
        collection_id=9,
    )
    assert context.get_tenant_id() == "7"
    assert context.get_agent_id() == "00000000-0000-0000-0000-000000000001"
    assert context.get_conversation_id() == "c"
    assert context.get_collection_id() == "9"


@pytest.mark.parametrize("tenant", [None, "", "  "])
def test_without_a_tenant_it_says_so(tenant: str | None) -> None:
    with pytest.raises(MissingTenant, match="names no tenant"):
        Context(tenant_id=tenant).get_tenant_id()
    assert Context(tenant_id=tenant).get_agent_id() is None


def test_an_empty_part_is_not_an_absent_one() -> None:
    with pytest.raises(InvalidKey, match='agent_id is ""'):
        Context(tenant_id="t", agent_id="").get_agent_id()


def test_contexts_nest_and_one_may_be_entered_again() -> None:
    outer, inner = Context(tenant_id="outer"), Context(tenant_id="inner")
    assert current_context() is None
    with outer:
        with inner, outer:
            assert current_tenant() == "outer"
        assert current_tenant() == "outer"
        with inner:
            assert current_tenant() == "inner"
        assert current_context() is outer
    assert current_context() is None


async def test_tasks_have_their_own() -> None:
    shared = Context(tenant_id="shared")
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def request() -> str:
        with shared:
            inside.set()
            await go_on.wait()
            return current_tenant()

    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(request())
        await inside.wait()
        assert current_context() is None
        with Context(tenant_id="mine"):
            second = tasks.create_task(request())
            go_on.set()
            assert await second == "shared"
            assert current_tenant() == "mine"
    assert await first == "shared"


def test_the_process_s_tenant_is_used_where_the_context_names_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CASCADA_TENANT", "of-process")
    assert current_tenant() == "of-process"
    with Context(agent_id="a1"):
        assert current_tenant() == "of-process"
    with Context(tenant_id="of-request"):
        assert current_tenant() == "of-request"


@pytest.mark.parametrize("value", [None, "", "  "])
def test_without_either_both_are_named(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    if value is not None:
        monkeypatch.setenv("CASCADA_TENANT", value)
    with pytest.raises(MissingTenant, match=r"current context.*CASCADA_TENANT"):
        current_tenant()


async def test_a_generator_that_is_closed_in_between_takes_nobody_elses_away() -> None:
    one, other = Context(tenant_id="one"), Context(tenant_id="other")

    async def holding() -> AsyncGenerator[None]:
        with one:
            yield

    held = holding()
    with other:
        await anext(held)
    assert current_context() is one, "what was entered last has been left, and this has not"
    await held.aclose()
    assert current_context() is None
    held = holding()
    await anext(held)
    with other:
        await held.aclose()
        assert current_tenant() == "other"
    assert current_context() is None


async def test_to_leave_what_this_task_has_not_entered_changes_nothing() -> None:
    held = contextlib.ExitStack()
    held.enter_context(Context(tenant_id="a"))

    async def another() -> str:
        with Context(tenant_id="b"):
            held.close()
            return current_tenant()

    assert await asyncio.create_task(another(), context=contextvars.Context()) == "b"


async def test_whoever_began_last_says_who_asks() -> None:
    """A worker that a load has started serves the requests of others in that load's context."""
    asked: list[str] = []
    started: list[asyncio.Task[None]] = []
    async with Cache() as cache:
        stack = Inside(cache).stack

        async def serve() -> None:
            asked.append(asking_tenant(stack))
            with Context(agent_id="no tenant"):
                asked.append(asking_tenant(stack))
            with Context(tenant_id="b"):
                asked.append(asking_tenant(stack))
                await cache.tenant("c").load("t", "inner", inner)

        async def inner() -> int:
            asked.append(asking_tenant(stack))
            return 1

        async def outer() -> int:
            started.append(asyncio.create_task(serve()))
            return 1

        with Context(tenant_id="z"):
            await cache.tenant("a").load("t", "outer", outer)
        await started[0]
        assert asked == ["a", "a", "b", "c"]
        with pytest.raises(MissingTenant):
            asking_tenant(stack)
        assert asking_tenant(stack, "otherwise") == "otherwise"
