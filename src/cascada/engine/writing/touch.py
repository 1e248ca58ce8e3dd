"""The touch path: another life for a value that is there, the lowest tier first, memory last.

It is no invalidation: what was made of the value stays, and so does the value. Each tier gives its
own entry the new life in one atomic step, and lets nothing in any more that is on its way there
with the old one. So the lowest is told first: a tier above could otherwise be filled with the old
life from one below, after it was told. (`docs/protocol.md` rule 41.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from cascada.engine import decide
from cascada.engine.decide import Verdict
from cascada.engine.reading.read import until_stored
from cascada.engine.request import Request
from cascada.engine.stack import Stack
from cascada.engine.tasks.background import Unfinished
from cascada.engine.writing import redelivery
from cascada.model.entry import Entry, Flag
from cascada.model.errors import TierUnavailable
from cascada.model.names import entry_name
from cascada.model.policy import Policy
from cascada.tiers.contract import Found, Renewed, Tier, Touched
from cascada.tiers.guarded import GuardedTier
from cascada.tiers.large_values import told_of_only
from cascada.tiers.memory.record import Record

_KEPT = (Verdict.FRESH, Verdict.REFRESH_DUE, Verdict.STALE)


async def touch(stack: Stack, request: Request, ttl: float) -> bool:
    """Let the value of the request's key live for `ttl` seconds from now; whether there was one.

    What a tier below memory has of that one key, and `get` would give, is a value: also a stale
    one, which is fresh again then. A known absence is none. A tier that does not answer is owed to
    let go of its copy, and this process does not read it before; the lowest one only of a life that
    ends later than it should. False as well if that is owed, and no durable tier keeps it for all
    processes.
    """
    if stack.flights:
        await until_stored(stack, [Request(request.kind, (request.key,))])
    renewed = partial(_renewed, request.kind.policy, ttl, stack.now())
    if not stack.lower:
        return stack.memory.touch_now(request.key, renewed).entry is not None
    # Half of it would leave tiers that end at different times.
    with Unfinished(stack.background, partial(_again, stack, request, renewed), "touch"):
        return await _touch(stack, request, renewed)


async def _touch(stack: Stack, request: Request, renewed: Renewed) -> bool:
    key, names, memory = request.key, [entry_name(request.key)], stack.memory
    tiers = everybody = stack.lower_of(request)
    behind = stack.behind
    if behind is not None and not await behind.settled([key]):
        # What the lowest has is older, and is not read: whether there is a value the others say.
        tiers = tuple([tier for tier in everybody if tier is not behind.base])
    since, had = memory.moment(), memory.records.get(key)
    told, unreached = await _tell(stack, request, renewed, tiers)
    touched = next((each for each in told.values() if each.entry is not None), None)
    if touched is None and not (stack.authority in told and _gives(had, renewed)):
        return False
    waits = _waits(told)
    if touched is not next(iter(told.values())) or tiers is not everybody or _of_two(told):
        # A load that began before may yet store the old life below the tier that had the value, and
        # what was set in between has its own there. And of what the tiers have evicted no memory is
        # to go on with the old life.
        told, unreached = await _tell(stack, request, renewed, everybody, below=True)
    if waits or _waits(told):
        # That one is told with the new life what waits.
        unreached = [tier for tier in unreached if tier is not everybody[-1]]
    numbered = told.get(stack.authority)
    if numbered is None:
        memory.void(names)
    else:
        memory.apply(numbered.seq, names)
        entry = None if had is None else numbered.entry
        if entry is not None and not told_of_only(Found(entry, 0)):
            # As read at that number: the step has found it valid. So who slides the life of what he
            # reads has it in memory again.
            memory.keep([(key, entry, numbered.seq)], since)
    if touched is None:
        return False
    # What a tier above has that is away may have had a longer life given than the lowest, when that
    # was away.
    if unreached and (everybody[-1] not in unreached or _ends_earlier(touched)):
        return await redelivery.defer(stack, unreached, names)
    return True


def _gives(record: Record | None, renewed: Renewed) -> bool:
    """Whether memory would give it all the same, which the tiers below have not."""
    return record is not None and not record.gone and renewed(record, len(record.data)) is not None


async def _tell(
    stack: Stack,
    request: Request,
    renewed: Renewed,
    tiers: Sequence[GuardedTier],
    *,
    below: bool = False,
) -> tuple[dict[Tier, Touched], list[GuardedTier]]:
    """What those tiers did that answer, the lowest first, and those that do not. `below`: all of
    them are to refuse the old life, whatever they have."""
    told: dict[Tier, Touched] = {}
    unreached: list[GuardedTier] = []
    for tier in reversed(tiers):
        try:
            told[tier] = touched = await tier.touch(request.key, renewed, below=below)
        except TierUnavailable as error:
            stack.trace.tier_failed(tier.name, str(error))
            unreached.append(tier)
        else:
            below = below or touched.entry is not None
    return told, unreached


def _waits(told: Mapping[Tier, Touched]) -> bool:
    """Whether what was touched is still to be written to the lowest."""
    return any(each.waits for each in told.values())


def _of_two(told: Mapping[Tier, Touched]) -> bool:
    """Whether they have had different values: one was set, or written, in between."""
    return len({each.was.created for each in told.values() if each.was is not None}) > 1


async def _again(stack: Stack, request: Request, renewed: Renewed) -> None:
    """The same once more, for a caller who was cancelled in the middle."""
    await _touch(stack, request, renewed)


def _renewed(policy: Policy, ttl: float, now: float, entry: Entry, size: int) -> Entry | None:
    """The entry as it is to be; None if nobody would be given it now."""
    if entry.flags & Flag.ABSENT:
        return None
    if decide.judge(entry, policy, now, generating=False) not in _KEPT:
        return None
    fresh, whole = policy.lifetimes(ttl, ttl, size)
    fresh_until = now + fresh
    # One float where there is one moment, as in a new entry.
    return entry.lasting(fresh_until, fresh_until if whole == fresh else now + whole)


def _ends_earlier(touched: Touched) -> bool:
    was, entry = touched.was, touched.entry
    assert was is not None
    assert entry is not None
    return entry.fresh_until < was.fresh_until or entry.expires < was.expires
