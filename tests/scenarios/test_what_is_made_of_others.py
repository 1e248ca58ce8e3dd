"""What a loader makes of other values is never older than they are, whoever has heard of what."""

from typing import Any

import pytest

from cascada.api.cache import Cache
from cascada.api.tenant.handle import Tenant
from cascada.model.loaded import Loaded
from cascada.testing.flaky import FlakyTier
from cascada.testing.nodes import hear
from tests.scenarios.row import Row, all_stored


@pytest.mark.parametrize("how", ["load", "load_many", "get", "get_many"])
async def test_what_memory_has_not_heard_of_yet_is_not_built_into_what_is_stored(
    pair: tuple[Cache, Cache, FlakyTier], how: str
) -> None:
    here, there, tier = pair
    mine, theirs = here.tenant("acme"), there.tenant("acme")
    row = Row("old")
    await mine.load("x", "1", row.read)
    await all_stored(mine)
    tier.fail("changes")
    row.value = "new"
    await theirs.invalidate("x", "1")
    assert (await mine.get("x", "1")).value == "old", "memory has not heard of it, or this is void"

    answer = await mine.load("y", "made", lambda: made_of(mine, row, how))
    assert answer.value in ("of new", "of None")
    await all_stored(mine)
    assert (await theirs.get("y", "made")).value == answer.value
    tier.heal("changes")
    await hear(here)
    assert (await mine.load("y", "made", lambda: made_of(mine, row, "load"))).value == answer.value


async def made_of(handle: Tenant, row: Row, how: str) -> str:
    async def rows(ids: list[str]) -> list[Any]:
        return [await row.read() for _ in ids]

    if how == "load":
        source = await handle.load("x", "1", row.read)
    elif how == "load_many":
        (source,) = await handle.load_many("x", ["1"], rows)
    elif how == "get":
        source = await handle.get("x", "1")
    else:
        (source,) = await handle.get_many("x", ["1"])
    return f"of {source.value}"


@pytest.mark.parametrize(
    "invalidation",
    [{"data_type": "x", "resource_id": "1"}, {"data_type": "x", "resource_id": "*"}, {}],
    ids=["resource", "type", "tenant"],
)
async def test_a_declared_source_is_reached_by_its_id_by_its_type_and_by_its_tenant(
    cache: Cache, invalidation: dict[str, str]
) -> None:
    acme = cache.tenant("acme")
    await acme.load("y", "made", lambda: Loaded("of old", sources=["x:1"]))
    await all_stored(acme)
    await acme.set("y", "set", "of old", sources=["x:1"])
    await acme.invalidate(**invalidation)
    assert not await acme.get("y", "made")
    assert not await acme.get("y", "set")
