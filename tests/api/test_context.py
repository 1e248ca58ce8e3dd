"""The current request's context, and whose tenant it is."""

import asyncio
from uuid import UUID

import pytest

from cascada import Context, InvalidKey, MissingTenant
from cascada.api.context import current_context, current_tenant


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
