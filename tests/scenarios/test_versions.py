"""Of versions of 64 bits the greatest stays, in every tier, wherever they differ, and after all."""

import pytest

from cascada import Policy
from tests.scenarios.conftest import MakeCache

PAIRS = [
    (-(2**63), -(2**63) + 1),
    (-(2**53) - 2, -(2**53) - 1),
    (-1, 0),
    (0, 1),
    (9, 10),
    (99_999, 100_000),
    (2**53, 2**53 + 1),
    (2**53 + 1, 2**53 + 2),
    (1_732_912_345_123_456_788, 1_732_912_345_123_456_789),
    (2**62, 2**62 + 1),
    (2**63 - 2, 2**63 - 1),
    (-(2**63), 2**63 - 1),
]
"""An older version and a newer one."""


async def test_an_older_version_never_replaces_a_newer_one(make_cache: MakeCache) -> None:
    here = make_cache().tenant("acme")
    for older, newer in PAIRS:
        assert await here.set("x", f"{older} {newer}", "newer", version=newer)
        assert not await here.set("x", f"{older} {newer}", "older", version=older), (older, newer)
        assert (await here.get("x", f"{older} {newer}")).value == "newer"


async def test_a_newer_version_replaces_an_older_one(make_cache: MakeCache) -> None:
    acme = make_cache().tenant("acme")
    for older, newer in PAIRS:
        assert await acme.set("x", f"{older} {newer}", "older", version=older)
        for value in ("newer", "the same once more"):
            assert await acme.set("x", f"{older} {newer}", value, version=newer), (older, newer)
            assert (await acme.get("x", f"{older} {newer}")).value == value


async def test_the_greatest_version_is_known_when_the_value_is_gone(make_cache: MakeCache) -> None:
    acme = make_cache().tenant("acme")
    for older, newer in PAIRS:
        assert await acme.set("x", f"{older} {newer}", "newer", version=newer)
        await acme.invalidate("x", f"{older} {newer}")
        assert not await acme.set("x", f"{older} {newer}", "older", version=older), (older, newer)
        assert not await acme.get("x", f"{older} {newer}")
        assert await acme.set("x", f"{older} {newer}", "newer again", version=newer)
        assert (await acme.get("x", f"{older} {newer}")).value == "newer again"


@pytest.mark.parametrize("none_ttl", [None, 60])
async def test_that_there_is_nothing_has_a_version_too(
    make_cache: MakeCache, none_ttl: float | None
) -> None:
    acme = make_cache(policy=Policy(none_ttl=none_ttl)).tenant("acme")
    assert await acme.set("x", "1", "row", version=5)
    assert not await acme.set("x", "1", None, version=4), "the row is newer"
    assert (await acme.get("x", "1")).value == "row"
    assert await acme.set("x", "1", None, version=6)
    found = await acme.get("x", "1")
    assert (bool(found), found.absent) == (False, none_ttl is not None)
    assert not await acme.set("x", "1", "row", version=5), "it was deleted since"
    assert not await acme.get("x", "1")
    assert await acme.set("x", "1", "another", version=7)
    assert (await acme.get("x", "1")).value == "another"


async def test_other_processes_read_the_newer_one_that_was_not_replaced(
    make_cache: MakeCache, tiers: str
) -> None:
    here, there = (make_cache().tenant("acme") for _ in range(2))
    assert await here.set("x", "1", "newer", version=2**53 + 1)
    writer = here if tiers == "memory" else there
    assert not await writer.set("x", "1", "older", version=2**53)
    for reader in (here, writer):
        assert (await reader.get("x", "1")).value == "newer"
