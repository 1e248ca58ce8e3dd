"""Reads that the engine carries out together are each caller's own all the same."""

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass

import pytest

from cascada.model.policy import Policy
from cascada.testing.inside import inside
from tests.scenarios.conftest import MakeCache

reader: ContextVar[str] = ContextVar("reader", default="nobody")
made: list[tuple[str, str]] = []
"""Whose note it was, and in whose context it was made."""


@dataclass
class Note:
    owner: str

    def __post_init__(self) -> None:
        made.append((self.owner, reader.get()))


@pytest.mark.parametrize("declared", ["by the policy", "by the caller"])
async def test_a_value_is_made_in_the_context_of_who_asked(
    make_cache: MakeCache, declared: str
) -> None:
    """What a declared type does when it is made may depend on it: on a tenant, say."""
    by_policy = declared == "by the policy"
    cache = make_cache(policy=Policy(ttl=100, type=Note if by_policy else None))
    tenants = [f"tenant {number}" for number in range(5)]
    for tenant in tenants:
        await cache.tenant(tenant).set("x", "1", Note(tenant), type=Note)

    async def read(tenant: str) -> None:
        reader.set(tenant)
        hit = await cache.tenant(tenant).get("x", "1", type=None if by_policy else Note)
        assert hit.value.owner == tenant

    if inside(cache).lower:
        inside(cache).memory.flush()
    made.clear()
    await asyncio.gather(*map(read, tenants))
    assert sorted(made) == [(tenant, tenant) for tenant in tenants]
