"""What a policy of eviction sees of a record, and what memory asks of a policy.

`benchmarks/hit_ratio.py` replays traces through the same policies with items of its own, so nothing
here knows of entries, tenants or clocks.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Generic, Protocol, TypeVar


class Evictable(Protocol):
    """A hit writes `used` (whatever grows) and `hits` (to `model.limits.COUNTED`, but for LFU),
    and nothing else: all order is worked out when room is needed.

    `weight`: bytes. `rank`: of its priority, 0 (goes first) to 3 (goes last). `worth`: what a load
    of it takes, 0 if that is not known. `mark`: a number by which its key is known when it comes
    back.
    The others are the policy's own: `seen` are the hits when it last looked, `place` where the
    record stands (who is before it in a queue, its index in a heap), None if in no order.
    """

    weight: int
    used: Any
    hits: int
    seen: int
    score: Any
    place: Any
    after: Any

    @property
    def rank(self) -> int: ...

    @property
    def worth(self) -> float: ...

    @property
    def mark(self) -> int: ...


R = TypeVar("R", bound=Evictable)


class Order(Generic[R]):
    """The records of one tenant, in the order in which they go, and what he holds: `bytes` of
    `count` records, which memory keeps account of. The rest is for `shares.py`: by `whose` it is
    known, and `level` and `above` are between which numbers its bytes are. Of a data type whose
    number is bounded he has one apart; `bound` is then that.

    Who stores makes room first and admits then, so that what was just stored is no victim.
    """

    __slots__ = ("above", "bound", "bytes", "count", "level", "whose")

    def __init__(self) -> None:
        self.bytes = self.count = self.level = self.above = 0
        self.bound: Any = None
        self.whose: Hashable = None

    def admit(self, record: R) -> None:
        """It was stored."""
        raise NotImplementedError

    def left(self, record: R) -> None:
        """It was dropped, and must never be a victim."""
        raise NotImplementedError

    def victim(self, newcomer: R | None = None) -> R:
        """What is given up next, taken out of the order, which must not be empty.

        `newcomer`: for whom, if he is of the same tenant; he himself, if he is worth less.
        """
        raise NotImplementedError
