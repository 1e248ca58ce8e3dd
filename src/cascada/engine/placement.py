"""Which tiers a value is placed in: by its priority, by whether it must last, by what it took to
load.

    priority         stored in    once read, and when a load brings it
    CRITICAL, HIGH   L1, L2       L1, L2
    NORMAL           L2           L2, L1
    LOW              L3           L3, L2

and in L3 as well what is durable, what never expires, and what took longer than SLOW to load. In
the place of a tier that is not there, or is away, comes the next lower one, else the next higher.
All this holds where a priority, or `durable`, is said, by the call or the policy; else a value goes
to every tier. The write path and the way back up ask; what a tier that is passed over is told
instead, they say (`Entry.nothing`). It must never ask a tier.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from cascada.engine.stack import Stack
from cascada.model.bills.bill import Bill
from cascada.model.entry import Entry
from cascada.model.policy import CachePriority, Policy
from cascada.tiers.contract import Found, Tier

SLOW: Final = 0.05
"""Seconds of a load from which on its value is worth a place in the database."""

_DATABASE: Final = 3

Places = frozenset[Tier]
Table = Mapping[CachePriority, tuple[int, ...]]

_STORED: Final[Table] = {
    CachePriority.LOW: (3,),
    CachePriority.NORMAL: (2,),
    CachePriority.HIGH: (1, 2),
    CachePriority.CRITICAL: (1, 2),
}
_READ: Final[Table] = {**_STORED, CachePriority.LOW: (3, 2), CachePriority.NORMAL: (2, 1)}


def is_placed(policy: Policy, said: CachePriority | None) -> bool:
    """Whether the table holds, since the call or the policy says something of it."""
    return said is not None or policy.priority is not None or policy.durable is not None


def is_above(policy: Policy, seen: Sequence[object]) -> bool:
    """Whether what a tier has answered says of itself that its place may be there alone."""
    return is_placed(policy, None) or any(
        isinstance(each, Found) and each.entry.priority is not CachePriority.NORMAL for each in seen
    )


def of_write(
    stack: Stack,
    policy: Policy,
    entry: Entry,
    said: CachePriority | None,
    there: Collection[Tier],
    *,
    lasting: bool = True,
) -> Places | None:
    """Where an entry goes that a caller stores, of the tiers that are there; None: to all of them.

    `said`: the priority that the call has given. `lasting`: it may go to the database (what is made
    of a value that has no place there may not: there, nothing would end it in time).
    """
    table = _STORED if is_placed(policy, said) else None
    wanted = _wanted(stack, policy, entry, there, table, lasting=lasting)
    if not stack.writes_around:
        return wanted
    around = there if wanted is None else wanted
    return frozenset(sorted(around, key=stack.levels.__getitem__)[-1:])


def of_load(
    stack: Stack, policy: Policy, entry: Entry, there: Collection[Tier], *, lasting: bool = True
) -> Places | None:
    """Where an entry goes that a load has brought: it has been read."""
    if stack.reads_around:
        return of_write(stack, policy, entry, None, there, lasting=lasting)
    table = _READ if is_placed(policy, None) else None
    return _wanted(stack, policy, entry, there, table, lasting=lasting)


def of_read(stack: Stack, entry: Entry, tier: str) -> Places:
    """Which tiers are filled with an entry that this one had: none that is not above it."""
    if stack.reads_around:
        return frozenset()
    above = stack.tiers[: [each.name for each in stack.tiers].index(tier)]
    # What is NORMAL here may be so because nobody has said anything; both go to all of them.
    return frozenset(above[1:] if entry.priority is CachePriority.LOW else above)


def _wanted(
    stack: Stack,
    policy: Policy,
    entry: Entry,
    there: Collection[Tier],
    table: Table | None,
    *,
    lasting: bool,
) -> Places | None:
    lasting = lasting and policy.durable is not False
    if table is None:
        return None if lasting else frozenset(t for t in there if stack.levels[t] < _DATABASE)
    by_level = {stack.levels[tier]: tier for tier in there}
    if not lasting:
        by_level.pop(_DATABASE, None)
    levels = table[entry.priority]
    if policy.durable or entry.fresh_until == math.inf or Bill.of(entry.cost).seconds > SLOW:
        levels = (*levels, _DATABASE)
    return frozenset(_nearest(levels, by_level))


def _nearest(levels: Iterable[int], there: Mapping[int, Tier]) -> Iterable[Tier]:
    """For each level the tier there, else the next lower one, else the next higher."""
    for level in levels:
        for instead in (*range(level, _DATABASE + 1), *range(level - 1, 0, -1)):
            if instead in there:
                yield there[instead]
                break
