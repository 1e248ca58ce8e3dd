"""The rules of equal sets and of what is stored once, left out one at a time: the contract notices.

No run of the checker can tell most of these: what they spoil is right again at the next write.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from cascada.codecs import envelope
from cascada.model.entry import Entry
from cascada.model.keys import Key
from cascada.model.names import tag_name
from cascada.testing import steps
from cascada.tiers.contract import Filled, Lease, Seen
from cascada.tiers.memory.tier import MemoryTier
from cascada.tiers.redis import writes as redis_leases
from cascada.tiers.redis.tier import RedisTier
from cascada.tiers.redis_scripts.fill import FILL
from cascada.tiers.redis_scripts.prelude import Script
from cascada.tiers.sqlite.tier import SqliteTier
from tests.contracts.test_memory import TestMemory as OfMemory
from tests.contracts.test_redis import TestRedis as OfRedis
from tests.contracts.test_sqlite import TestSqlite as OfSqlite
from tests.servers.redis import RedisServer

Patch = pytest.MonkeyPatch
THE_FACTS = " and mine == theirs\n    and (alike or mine ~= facts or theirs ~= other)"


def equality_without(*facts: str) -> Callable[[Patch], None]:
    """Two entries are equal though these facts differ."""

    def apply(patch: Patch) -> None:
        rest = {"data", "codec", "flags", "names", "version"} - set(facts)
        patch.setattr(
            Entry,
            "equals",
            lambda self, other: all(getattr(self, each) == getattr(other, each) for each in rest),
        )

    return apply


def digest_without(fact: str, instead: Any) -> Callable[[Patch], None]:
    """Sets share a HOLD though this differs."""

    def apply(patch: Patch) -> None:
        def poorer(entry: Entry) -> bytes:
            facts = {each: getattr(entry, each) for each in ("data", "codec", "flags", "names")}
            known = Entry(**{**facts, "version": entry.version, fact: instead})
            return envelope.digest_of(known)

        patch.setattr(steps, "digest_of", poorer)

    return apply


def script(old: str, new: str) -> Callable[[Patch], None]:
    assert old in FILL.text, old
    return lambda patch: patch.setattr(redis_leases, "FILL", Script(FILL.text.replace(old, new)))


def replaces(patch: Patch) -> None:
    patch.setattr(Lease, "may_replace", lambda self, entry: True)


def unfenced(tier: type[MemoryTier | SqliteTier]) -> Callable[[Patch], None]:
    """What is stored once is held to now, not to its miss."""

    def apply(patch: Patch) -> None:
        lease = tier.lease

        async def late(self: Any, keys: Sequence[Key], seen: Sequence[Seen], **how: Any) -> Any:
            return await lease(self, keys, [None] * len(keys) if how.get("once") else seen, **how)

        patch.setattr(tier, "lease", late)

    return apply


def advances(tier: type[MemoryTier | SqliteTier | RedisTier]) -> Callable[[Patch], None]:
    """What is stored once draws a number, as a set does."""

    def apply(patch: Patch) -> None:
        fill = tier.fill

        async def loud(
            self: Any, leases: Sequence[Lease], entries: Sequence[Entry | None]
        ) -> list[Filled]:
            filled = await fill(self, leases, entries)
            if any(lease.once for lease in leases):
                await self.invalidate([tag_name("acme", "unrelated")])
            return filled

        patch.setattr(tier, "fill", loud)

    return apply


def untold(tier: type[MemoryTier | SqliteTier | RedisTier]) -> Callable[[Patch], None]:
    """What is added is stored, and that is all."""

    def apply(patch: Patch) -> None:
        fill = tier.fill

        async def silent(self: Any, leases: Sequence[Lease], entries: Any) -> list[Filled]:
            for lease in leases:
                lease.adds = b""
            return await fill(self, leases, entries)

        patch.setattr(tier, "fill", silent)

    return apply


DIFFERS = "test_what_differs_in_anything_but_its_life_is_not_equal"
LATE_SET = "test_a_late_set_lands_under_an_equal_hold_alone"
FENCED = "test_what_was_made_before_an_invalidation_is_not_stored_once"
FIRST = "test_of_two_that_are_stored_once_the_first_stays"
QUIET = "test_what_is_stored_once_voids_nothing"
ADDED = "test_what_was_added_is_told_of_as_a_set_is"
NOT_ADDED = "test_a_value_that_is_there_stays_and_nobody_is_told"

LESS: list[tuple[str, str, Callable[[Patch], None], str]] = [
    *(
        (f"equality without {fact}", tier, equality_without(fact), DIFFERS)
        for fact in ("data", "codec", "flags", "names", "version")
        for tier in ("memory", "sqlite")
    ),
    ("equality without facts", "redis", script(THE_FACTS, ""), DIFFERS),
    (
        "equality with what it cost",
        "redis",
        script("math.floor(flags / 32) % 2 == 0", "true"),
        "test_what_it_cost_makes_no_other_value",
    ),
    *(
        (f"a digest without {fact}", "redis", digest_without(fact, instead), LATE_SET)
        for fact, instead in {
            "data": b"", "codec": 1, "flags": 0, "names": (), "version": None,
        }.items()
    ),
    ("a fill without its fence", "memory", unfenced(MemoryTier), FENCED),
    ("a fill without its fence", "sqlite", unfenced(SqliteTier), FENCED),
    (
        "a fill without its fence of keys",
        "redis",
        script("and not named_since(KEYS[3], 'k:' .. ARGV[at + 2], since)", ""),
        FENCED,
    ),
    (
        "a fill without its fence of names",
        "redis",
        script("and unnamed(since, at + 13, at + 12 + static)", ""),
        FENCED,
    ),
    ("a fill that replaces", "memory", replaces, FIRST),
    ("a fill that replaces", "sqlite", replaces, FIRST),
    ("a fill that replaces", "redis", script("string.byte(found, 37) % 2 == 0", "false"), FIRST),
    ("a fill that draws a number", "memory", advances(MemoryTier), QUIET),
    ("a fill that draws a number", "sqlite", advances(SqliteTier), QUIET),
    ("a fill that draws a number", "redis", advances(RedisTier), QUIET),
    ("an add that nobody is told of", "memory", untold(MemoryTier), ADDED),
    ("an add that nobody is told of", "sqlite", untold(SqliteTier), ADDED),
    ("an add that nobody is told of", "redis", untold(RedisTier), ADDED),
    ("an add that leaves the loads", "redis", script("redis.call('SET', l, adds", "--"), ADDED),
    ("an add that replaces", "memory", replaces, NOT_ADDED),
    ("an add that replaces", "sqlite", replaces, NOT_ADDED),
    (
        "an add that replaces",
        "redis",
        script("string.byte(found, 37) % 2 == 0", "false"),
        NOT_ADDED,
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("tier", "mutate", "notices"),
    [each[1:] for each in LESS],
    ids=[f"{tier}: {what}" for what, tier, *_ in LESS],
)
def test_a_rule_that_is_left_out_is_missed(
    tier: str,
    mutate: Callable[[Patch], None],
    notices: str,
    tmp_path: Path,
    redis_server: RedisServer,
    monkeypatch: Patch,
) -> None:
    contract: Any = {"memory": OfMemory, "sqlite": OfSqlite, "redis": OfRedis}[tier]()
    contract.path, contract.url = tmp_path / "cache.db", redis_server.url
    redis_server.flush()
    mutate(monkeypatch)
    with pytest.raises(AssertionError):
        getattr(contract, notices)()
