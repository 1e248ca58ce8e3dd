"""What the tests of the contracts are made of: how one is run, payloads, ids, and a load's steps.

Made for the contracts beside it; a tier's own tests may use them as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from inspect import iscoroutinefunction, signature
from typing import Any, Final

from cascada.codecs.envelope import digest_of
from cascada.model.bills.cost import Cost, packed
from cascada.model.entry import Codec, Entry, Flag
from cascada.model.keys import Key
from cascada.model.names import tag_name
from cascada.tiers.contract import Filled, Found, Lease, Missing, Seen, Tier

TAG: Final = tag_name("acme", "news")

COST: Final = packed(
    0.25, Cost(money=Decimal("0.0123"), tokens_in=900, tokens_out=70, tokens_cached=300), {}
)
"""What a load took."""

PAYLOADS: Final = {
    "None": (b"\xc0", Codec.MSGPACK, 0),
    "0": (b"\x00", Codec.MSGPACK, 0),
    '""': (b"\xa0", Codec.MSGPACK, 0),
    "[]": (b"\x90", Codec.MSGPACK, 0),
    "{}": (b"\x80", Codec.MSGPACK, 0),
    "False": (b"\xc2", Codec.MSGPACK, 0),
    'b""': (b"\xc4\x00", Codec.EXTENDED, 0),
    "an absence": (b"", Codec.NOTHING, int(Flag.ABSENT | Flag.GENERATOR_ASKED)),
    "zero bytes": (bytes(64), Codec.ARRAY, 0),
    "all bytes": (bytes(range(256)) * 8, Codec.CUSTOM, 0),
    "a policy's version": (b"\x01", Codec.MSGPACK, 7 << 8),
    "much": (b"0123456789abcdef" * 4096, Codec.MSGPACK, 0),
}
"""Payloads as the codecs make them. The values that are easily taken for "nothing" come first."""

HOSTILE_IDS: Final = (
    "a", "a:b", "a%3Ab", "%", "*", "a*", "{a}", "a\nb", "a\x00b", "a'b", 'a"b', "\\", "é",
    "e\u0301", "\u2028", "\U0001f30a", "k:acme:document:a", "x" * 1024,
)  # fmt: skip
"""Ids that some store or other would take for something else."""


class Contract:
    """Promises as tests: each test that is a coroutine gets what `opened` makes, new for it.

    It is run to its end on an event loop of its own, so that no plugin of pytest's is needed. A
    subclass's own tests are run likewise, unless they ask for fixtures.
    """

    def __init_subclass__(cls) -> None:
        for name, body in [*vars(cls).items()]:
            is_test = name.startswith("test_") and iscoroutinefunction(body)
            if is_test and len(signature(body).parameters) == 2:
                setattr(cls, name, _run(body))

    def opened(self) -> AbstractAsyncContextManager[Any]:
        """What a test is about, closed behind it."""
        raise NotImplementedError


def _run(body: Callable[[Any, Any], Awaitable[None]]) -> Callable[[Any], None]:
    def test(self: Contract) -> None:
        async def whole() -> None:
            async with self.opened() as made:
                await body(self, made)

        asyncio.run(whole())

    # Not functools.wraps: pytest would look through it and take what is made for a fixture.
    test.__name__, test.__doc__ = body.__name__, body.__doc__
    return test


def key_of(
    resource_id: str,
    *,
    tenant: str = "acme",
    data_type: str = "document",
    agent: str | None = None,
) -> Key:
    return Key(tenant, data_type, agent, None, None, resource_id)


async def grant(
    tier: Tier,
    key: Key,
    seen: Seen = None,
    *,
    force: bool = False,
    once: bool = False,
    adds: bytes = b"",
    entry: Entry | None = None,
) -> Lease:
    """A lease of the key; nobody else may hold one, unless `force`, `once` or `adds`.

    `entry`: what is to be set under it, by `force`; without it, the set equals no other.
    """
    once = once or bool(adds)
    if seen is None and not force:
        (seen,) = await tier.read([key])
    digests = () if entry is None else (digest_of(entry),)
    (lease,) = await tier.lease([key], [seen], force=force, once=once, digests=digests)
    assert isinstance(lease, Lease), f"{key}: {lease} instead of a lease"
    assert lease.key == key
    lease.adds = adds
    return lease


async def fill(tier: Tier, lease: Lease, entry: Entry | None) -> Filled:
    (filled,) = await tier.fill([lease], [entry])
    return filled


async def store(tier: Tier, key: Key, entry: Entry, seen: Found | Missing | None = None) -> None:
    """What a load does that nobody disturbs: it must be accepted, and found."""
    assert (await fill(tier, await grant(tier, key, seen), entry)).accepted, key
    assert (await found(tier, key)).data == entry.data


async def found(tier: Tier, key: Key) -> Entry:
    (answer,) = await tier.read([key])
    assert isinstance(answer, Found), f"{key}: {answer}"
    return answer.entry


async def is_missing(tier: Tier, key: Key) -> bool:
    (answer,) = await tier.read([key])
    return isinstance(answer, Missing)


def data_of(answer: Found | Missing) -> bytes | None:
    return answer.entry.data if isinstance(answer, Found) else None
