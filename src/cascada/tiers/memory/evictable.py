"""What a policy of eviction sees of a record, and what memory asks of a policy.

`benchmarks/hit_ratio.py` replays traces through the same policies with items of its own, so nothing
here knows of entries, tenants or clocks.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeVar


class Evictable(Protocol):
    """A hit writes `used` (whatever grows) and `hits` (to `model.limits.COUNTED`, but for LFU),
    and nothing else: all order is worked out when room is needed.

    `weight`: bytes. `rank`: of its priority, 0 (goes first) to 3 (goes last). `worth`: what a load
    of it takes, 0 if that is not known. `mark`: a number by which its key is known when it comes
    back.
    The others are the policy's own: `seen` are the hits when it last looked, `place` where the
    record stands, None if in no order.
    """

    weight: int
    used: Any
    hits: int
    seen: int
    score: Any
    place: Any
    before: Any
    after: Any

    @property
    def rank(self) -> int: ...

    @property
    def worth(self) -> float: ...

    @property
    def mark(self) -> int: ...


R = TypeVar("R", bound=Evictable)


class Order(Protocol[R]):
    """The records of one tenant, in the order in which they go.

    Who stores makes room first and admits then, so that what was just stored is no victim.
    """

    def admit(self, record: R) -> None:
        """It was stored."""

    def left(self, record: R) -> None:
        """It was dropped, and must never be a victim."""

    def victim(self, newcomer: R | None = None) -> R:
        """What is given up next, taken out of the order, which must not be empty.

        `newcomer`: for whom, if he is of the same tenant; he himself, if he is worth less.
        """
