"""What was read below is kept in memory without a lease, unless something named it since."""

from __future__ import annotations

from cascada.model.entry import Entry
from cascada.model.names import key_name, tag_name, tenant_name, type_name
from cascada.testing.clock import ManualClock
from cascada.tiers.contract import Lease
from cascada.tiers.memory.tier import MemoryTier
from tests.tiers.redis_world import KEY, OTHER

TAG = tag_name("acme", "news")
ELSEWHERE = KEY._replace(tenant="globex")


def memory() -> MemoryTier:
    return MemoryTier(ManualClock())


def test_what_was_named_since_its_read_is_not_kept_and_all_else_is() -> None:
    for name, refused in (
        (key_name(KEY), {KEY}),
        (type_name("acme", "row"), {KEY, OTHER}),
        (tenant_name("acme"), {KEY, OTHER}),
        (TAG, {OTHER}),
    ):
        tier = memory()
        tier.apply(5, [name])
        found = [
            (KEY, Entry(b""), 4),
            (OTHER, Entry(b"", names=(TAG,)), 4),
            (ELSEWHERE, Entry(b""), 4),
        ]
        kept = tier.keep(found, tier.moment())
        assert kept == [key not in refused for key, _, _ in found]
        assert [tier.peek(key) is not None for key, _, _ in found] == kept
        assert tier.keep([(key, entry, 5) for key, entry, _ in found], tier.moment()) == [True] * 3


def test_what_was_read_before_memory_was_emptied_is_not_kept() -> None:
    tier = memory()
    before = tier.moment()
    tier.flush()
    assert tier.keep([(KEY, Entry(b""), 7)], before) == [False]
    before = tier.moment()
    tier.void([TAG])
    assert tier.keep([(KEY, Entry(b""), 7)], before) == [False]
    assert tier.keep([(KEY, Entry(b""), 7)], tier.moment()) == [True]


async def test_nor_what_is_loaded_for_an_answer_of_before() -> None:
    """What was named between the answer and the lease is forgotten along with all else."""
    tier = memory()
    (before,) = await tier.read([KEY])
    tier.apply(before.seq + 1, [key_name(KEY)])
    tier.flush()
    (late, now) = [(await tier.lease([KEY], [seen]))[0] for seen in (before, None)]
    assert isinstance(late, Lease)
    assert isinstance(now, Lease)
    filled = await tier.fill([late, now], [Entry(b"old"), Entry(b"new")])
    assert [each.accepted for each in filled] == [False, True]


def test_an_older_version_is_not_kept_over_a_newer_one() -> None:
    tier = memory()
    assert tier.keep([(KEY, Entry(b"", version=2), 1)], tier.moment()) == [True]
    assert tier.keep([(KEY, Entry(b"", version=1), 1)], tier.moment()) == [False]
