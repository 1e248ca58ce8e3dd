"""`fill`: what was made after a miss is stored where no value is, and voids nothing.

The lowest tier comes first, as in a load, and each is asked by a once-fill under the fence of the
miss (`docs/protocol.md` rules 1 and 7). The engine calls it.
"""

from __future__ import annotations

from cascada.engine.loading.loaders import PLAIN, Terms
from cascada.engine.placement import of_write
from cascada.engine.reading import snapshots
from cascada.engine.reading.read import snapshot_now
from cascada.engine.reading.snapshots import Snapshot
from cascada.engine.request import Request
from cascada.engine.stack import Stack
from cascada.engine.writing.write import compare_sources, keep, write
from cascada.model.entry import Entry
from cascada.model.errors import TierUnavailable
from cascada.tiers.contract import Lease, Outcome, Tier, Why
from cascada.tiers.guarded import GuardedTier


async def fill_anew(stack: Stack, request: Request, entry: Entry | None) -> bool:
    """`fill` for who has no miss to pass on: by that of this task, else of now.

    Without an entry what is there goes, as in `write`.
    """
    if entry is None:
        return await write(stack, request, None)
    miss = snapshots.take(stack, request.key) or await snapshot_now(stack, request)
    return await fill(stack, miss, entry)


async def fill(
    stack: Stack,
    miss: Snapshot,
    entry: Entry | None,
    stored: Terms = PLAIN,
) -> bool:
    """Store what was made after this miss, the lowest tier first, as a load would.

    False if the key was named since or has a value, or a tier fails on the way: then those above it
    are not filled. Also if none below memory had room for it. Tiers that could not be read at the
    miss are passed over, as by a load; if no other is there, memory keeps it for a while. What was
    stored on the way stays: it is as good as what a load has stored.
    """
    request, authority = miss.request, stack.authority
    if entry is None:
        return False
    compared = await compare_sources(stack, [request], stored.sources)
    if compared.changed:
        return False
    stack.trace.stored(request.kind, request.key, entry, stack.timer())
    numbered = miss.seen.get(authority.name)
    tiers = [tier for tier in stack.lower if _was_there(miss, tier)]
    if numbered is None or not (tiers or _was_there(miss, authority)):
        if miss.meanwhile is not None:
            keep(stack, request, miss.meanwhile, entry)
        return False
    # Memory hears of invalidations by the numbers of the tier that makes them.
    in_memory = stack.memory.grant(request.key, miss.seen.get(stack.memory.name), once=True)
    in_memory.seq = numbered.seq
    there: list[Tier] = [*tiers]
    if _was_there(miss, authority):
        there.append(stack.memory)
    policy = request.kind.policy
    places = of_write(stack, policy, entry, stored.priority, there, lasting=not compared.above)
    homes, without_room = 0, 0
    for tier in reversed(tiers):
        stored_here = places is None or tier in places
        said = await _fill_once(stack, miss, tier, entry, stored=stored_here)
        without_room += said is Outcome.NO_ROOM
        homes += stored_here and said is not Outcome.NO_ROOM
        if said is None:
            return False
    kept = homes > 0 or not without_room
    if not _was_there(miss, authority) or (places is not None and stack.memory not in places):
        return kept
    accepted = keep(stack, request, in_memory, entry)
    return kept if tiers else accepted and stack.memory.records.get(request.key) is not None


async def _fill_once(
    stack: Stack, miss: Snapshot, tier: GuardedTier, entry: Entry, *, stored: bool
) -> Outcome | None:
    """What this tier, which stores it if it is `stored` there, has said if nothing stands against
    it; else None."""
    request = miss.request
    try:
        (lease,) = await tier.lease([request.key], [miss.seen[tier.name]], once=True)
        assert isinstance(lease, Lease)  # it takes over nothing and waits for nobody
        (filled,) = await tier.fill([lease], [entry if stored else entry.nothing()])
    except TierUnavailable as error:
        stack.trace.tier_failed(tier.name, str(error))
        return None
    if stored or not filled.accepted:
        stack.trace.verdict(request, tier.name, filled)
    good = filled.accepted or filled.outcome is Outcome.NO_ROOM
    return filled.outcome if good else None


def _was_there(miss: Snapshot, tier: Tier) -> bool:
    """Whether a tier has answered the read that missed."""
    answer = miss.seen.get(tier.name)
    return answer is not None and getattr(answer, "why", None) is not Why.UNAVAILABLE
