"""What memory may be trusted with between two looks at the feed, one test for each trap."""

from collections.abc import Callable

from cascada.model.entry import Entry
from cascada.model.errors import TierUnavailable
from cascada.model.keys import Key
from cascada.model.names import key_name, tag_name
from cascada.testing.clock import ManualClock
from cascada.tiers.capabilities import L1_LEASE
from cascada.tiers.contract import Found, Lease
from cascada.tiers.memory.tier import MemoryTier
from cascada.tiers.polled_feed import Changes, PolledFeed

KEY = Key("acme", "document", None, None, None, "d1")
OTHER = KEY._replace(resource_id="d2")


class Database:
    """What the feed of a shared tier tells, without the tier: numbered names."""

    def __init__(self) -> None:
        self.made: list[tuple[str, int]] = []
        self.first = 0
        self.down = False
        self.while_asked: Callable[[], None] = lambda: None

    @property
    def seq(self) -> int:
        return len(self.made)

    def invalidate(self, name: str) -> int:
        self.made.append((name, self.seq + 1))
        return self.seq

    async def changes(self, since: int | None) -> Changes:
        if self.down:
            raise TierUnavailable("the database is down")
        position, made = self.seq, tuple(self.made)
        self.while_asked()
        if since is None:
            return Changes(position, (), lost=False)
        if since < self.first:
            return Changes(position, (), lost=True)
        return Changes(position, made[since:], lost=False)


class Node:
    """One process: memory, its feed, and what it reads from the database."""

    def __init__(self, database: Database) -> None:
        self.clock = ManualClock()
        self.memory = MemoryTier(self.clock)
        self.database = database
        self.feed = PolledFeed(database, self.memory, self.clock)
        self.memory.freshness = self.feed

    async def keep(self, key: Key, seq: int, names: tuple[str, ...] = ()) -> bool:
        """Fill memory with what was read from the database at its number `seq`."""
        (seen,) = await self.memory.read([key])
        (lease,) = await self.memory.lease([key], [seen])
        assert isinstance(lease, Lease)
        lease.seq = seq
        (filled,) = await self.memory.fill([lease], [Entry(b"x", names=names)])
        return filled.accepted

    async def has(self, key: Key) -> bool:
        (answer,) = await self.memory.read([key])
        peeked = self.memory.peek(key)
        assert (peeked is not None) == isinstance(answer, Found)
        return peeked is not None


async def test_an_invalidation_by_another_process_is_heard_at_the_next_look() -> None:
    node = Node(database := Database())
    assert await node.feed.poll()
    assert await node.keep(KEY, database.seq, (tag_name("acme", "news"),))
    assert await node.keep(OTHER, database.seq)
    database.invalidate(tag_name("acme", "news"))
    assert await node.feed.poll()
    assert not await node.has(KEY)
    assert await node.has(OTHER)


async def test_memory_is_not_trusted_before_the_first_look_nor_one_lease_after_the_last() -> None:
    node = Node(database := Database())
    assert await node.keep(KEY, database.seq)
    assert not await node.has(KEY)
    assert await node.feed.poll()
    assert await node.keep(KEY, database.seq)
    node.clock.advance(L1_LEASE * 0.99)
    assert await node.has(KEY)
    node.clock.advance(L1_LEASE * 0.02)
    assert not await node.has(KEY)
    assert await node.feed.poll()
    assert await node.has(KEY), "nothing was invalidated meanwhile"


async def test_trust_runs_from_the_start_of_the_look_not_from_its_answer() -> None:
    node = Node(database := Database())
    assert await node.feed.poll()
    assert await node.keep(KEY, database.seq)

    def meanwhile() -> None:
        database.invalidate(key_name(KEY))
        node.clock.advance(L1_LEASE * 0.8)

    database.while_asked = meanwhile
    assert await node.feed.poll()
    node.clock.advance(L1_LEASE * 0.3)
    assert not await node.has(KEY)


async def test_what_was_read_before_the_first_look_is_not_kept() -> None:
    """The first look tells the present position alone, so nobody would ever hear of this one."""
    node = Node(database := Database())
    database.down = True
    assert not await node.feed.poll()
    assert await node.keep(KEY, database.seq)
    database.invalidate(key_name(KEY))
    database.down = False
    assert await node.feed.poll()
    assert not await node.has(KEY)


async def test_an_own_invalidation_does_not_hide_an_earlier_one_of_another_process() -> None:
    """Own ones are applied at once, out of order: number 2 is here before number 1 is heard."""
    node = Node(database := Database())
    assert await node.feed.poll()
    assert await node.keep(KEY, database.seq, (tag_name("acme", "news"),))
    assert await node.keep(OTHER, database.seq)
    database.invalidate(tag_name("acme", "news"))
    database.invalidate(key_name(OTHER))
    node.memory.apply(database.invalidate(tag_name("acme", "own")), [tag_name("acme", "own")])
    assert await node.has(KEY), "number 1 and 2 are not heard yet"
    assert await node.has(OTHER)
    assert await node.feed.poll()
    assert not await node.has(KEY)
    assert not await node.has(OTHER)


async def test_what_can_no_longer_be_told_empties_memory() -> None:
    node = Node(database := Database())
    assert await node.feed.poll()
    assert await node.keep(KEY, database.seq)
    database.invalidate(key_name(KEY))
    database.first = database.seq
    assert await node.feed.poll()
    assert not await node.has(KEY)


async def test_a_database_that_does_not_answer_lets_the_trust_run_out() -> None:
    node = Node(database := Database())
    assert await node.feed.poll()
    assert await node.keep(KEY, database.seq)
    database.down = True
    node.clock.advance(L1_LEASE / 2)
    assert not await node.feed.poll()
    assert await node.has(KEY)
    node.clock.advance(L1_LEASE)
    assert not await node.has(KEY)
