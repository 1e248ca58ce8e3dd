"""The fall through the tiers and the way back up, for a batch of questions.

Down: each tier is asked for all candidates of the questions that are still open, in one call.
Where it has no answer and something further down may, its lease is taken before going on, so that
whatever is found below can be filled in, unless it is invalidated meanwhile.

Up: what was found (or loaded) fills the tiers that were passed, the lowest first. A tier above is
filled only if the one below accepted: a refusal says that the value may be outdated.

Memory is filled only where the tier that numbers the invalidations (the authority: the first below
memory, or memory itself if it is alone) answered, with the q of that answer: without a number,
nothing later could tell whether an invalidation came before or after the value was read. Where the
authority is away and no other tier is below it, memory keeps what is loaded for a while all the
same, apart from the rest (`MemoryTier.lease_meanwhile`).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from cascada.engine import decide
from cascada.engine.decide import Verdict
from cascada.engine.loading import dependencies as sources
from cascada.engine.reading.fast_path import Answers, SharedRead
from cascada.engine.request import Answer, Request
from cascada.engine.stack import Stack
from cascada.model.entry import Entry
from cascada.model.errors import CorruptEntry, TierUnavailable
from cascada.tiers.contract import Busy, Fence, Found, Lease, Missing, Tier, Why

NEVER: Final = Fence()


class Lookup:
    """One question's way down: what was found, and which tiers are waiting to be filled.

    `answer` ends the fall. `servable` is due or stale: it may be served at once, but a load goes
    on. `spare` may be served only if the source fails. `busy`: another process
    is loading, so ask again when that is over. `seen` keeps each tier's answer for `explain`.
    """

    __slots__ = ("answer", "busy", "leases", "request", "seen", "servable", "spare")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.answer: Answer | None = None
        self.servable: Answer | None = None
        self.spare: Answer | None = None
        self.busy: Busy | None = None
        self.leases: dict[Tier, Lease] = {}
        self.seen: dict[str, list[Found | Missing]] = {}

    @property
    def has_to_wait(self) -> bool:
        """Whether another process is loading, and there is nothing to serve meanwhile."""
        return self.busy is not None and self.answer is None and self.servable is None


async def look_up(
    stack: Stack,
    requests: Sequence[Request],
    *,
    loading: bool,
    known: SharedRead | None = None,
    at_once: bool = False,
) -> list[Lookup]:
    """Fall until each question has an answer, and fill what was passed on the way.

    `known` is what the authority has answered a moment ago, or that it did not answer, so that it
    need not be asked again. `at_once`: all answers are of one moment, that is of one tier: what
    memory has is none, and what the tiers below it have is none as long as one of them lacks a key.
    """
    descents = [Lookup(request) for request in requests]
    try:
        await _fall(stack, descents, loading=loading, known=known, at_once=at_once)
    except BaseException:
        # Its callers have left, or it has failed: others would wait for a load that nobody runs.
        await rise(stack, descents, [None] * len(descents))
        raise
    found = [descent for descent in descents if descent.answer is not None]
    await rise(stack, found, [_for_tiers_above(stack, descent) for descent in found])
    if not loading and (promoted := [each for each in found if _was_deep(stack, each)]):
        # Not here: a caller that is cancelled would leave leases behind that nobody releases.
        stack.background.run(_promote(stack, promoted), "promote")
    return descents


async def rise(
    stack: Stack, descents: Sequence[Lookup], entries: Sequence[Entry | None]
) -> list[bool]:
    """Fill the tiers that were passed, or release their leases (None).

    The answers say whether nothing named the key since the authority's lease was granted, nor
    anything that a value bears which is not stored (`Lease.names`).
    """
    proven = [False] * len(descents)
    refused: set[int] = set()
    for tier in reversed(stack.tiers):
        passed = [
            (index, descent, descent.leases[tier])
            for index, descent in enumerate(descents)
            if tier in descent.leases
        ]
        if not passed:
            continue
        sent = [None if index in refused else entries[index] for index, _, _ in passed]
        try:
            verdicts = await tier.fill([lease for _, _, lease in passed], sent)
        except TierUnavailable as error:
            stack.trace.tier_failed(tier.name, str(error))
            # Whether it was stored is unknown; memory must not keep what nobody vouches for.
            refused.update(index for index, _, _ in passed)
            continue
        for (index, descent, _), entry, verdict in zip(passed, sent, verdicts, strict=True):
            if entry is not None:
                stack.trace.filled(descent.request, tier.name, accepted=verdict.accepted)
            if not verdict.accepted:
                refused.add(index)
            if tier is stack.authority:
                proven[index] = verdict.accepted and index not in refused
    return proven


async def _fall(
    stack: Stack,
    descents: Sequence[Lookup],
    *,
    loading: bool,
    known: SharedRead | None,
    at_once: bool,
) -> None:
    falling = descents
    partly: list[Answer | None] = []
    for tier in stack.tiers:
        hidden = at_once and tier is stack.memory
        await _ask(stack, tier, falling, loading=loading, known=known, hidden=hidden)
        if at_once and partly and _is_away(tier, descents):
            # Nobody knows more than the tier above, which has told all that it has at one moment.
            for descent, answer in zip(descents, partly, strict=True):
                descent.answer = answer
        falling = [descent for descent in falling if descent.answer is None]
        if not falling:
            return
        if at_once and len(falling) < len(descents) and tier is not stack.tiers[-1]:
            # An invalidation reaches the tiers below first: half of a cascade would be found.
            partly = [descent.answer for descent in descents]
            falling = descents
            for descent in descents:
                descent.answer = None
        if loading or tier is stack.memory:
            await _lease(stack, tier, falling, loading=loading)


def _is_away(tier: Tier, descents: Sequence[Lookup]) -> bool:
    """Whether a tier could not answer what it was asked."""
    answers = [descent.seen[tier.name][0] for descent in descents]
    return all(isinstance(each, Missing) and each.why is Why.UNAVAILABLE for each in answers)


async def _ask(
    stack: Stack,
    tier: Tier,
    descents: Sequence[Lookup],
    *,
    loading: bool,
    known: SharedRead | None,
    hidden: bool,
) -> None:
    asked = [stack.keys_for(tier, descent.request.candidates) for descent in descents]
    keys = list(dict.fromkeys(key for wanted in asked for key in wanted))
    try:
        answers: Answers
        if known is None or tier is not stack.authority or known.since != stack.memory.moment():
            answers = dict(zip(keys, await tier.read(keys), strict=True))
        elif isinstance(known.answers, TierUnavailable):
            raise known.answers
        else:
            answers = known.answers
    except TierUnavailable as error:
        stack.trace.tier_failed(tier.name, str(error))
        for descent, wanted in zip(descents, asked, strict=True):
            # A number below all: a `set` that relies on this miss is refused by every tier.
            descent.seen[tier.name] = [Missing(-1, Why.UNAVAILABLE) for _ in wanted]
            _do_without(stack, tier, descent, loading=loading)
        return
    if tier is stack.authority:
        stack.memory.end_meanwhile()
    above = sources.not_for_this(stack)
    for descent, wanted in zip(descents, asked, strict=True):
        seen = [answers[key] for key in wanted]
        if hidden or tier.name in above:
            seen = [Missing(answer.q, epoch=answer.epoch) for answer in seen]
        if tier is stack.authority and (lease := descent.leases.get(stack.memory)) is not None:
            lease.q = min(answer.q for answer in seen)
            if (since := descent.request.since) is not None:
                lease.q = min(lease.q, since.get(tier.name, NEVER).q)
        _take(stack, tier, descent, seen, loading=loading)


def _do_without(stack: Stack, tier: Tier, descent: Lookup, *, loading: bool) -> None:
    """If the authority is away, what memory has serves for a while, else what is loaded."""
    memory, request = stack.memory, descent.request
    if tier is not stack.authority:
        return
    descent.leases.pop(memory, None)
    _go_on_from_memory(stack, descent)
    if loading and descent.answer is None and stack.goes_on_without(request):
        since = request.since
        seen = None if since is None else since.get(memory.name, NEVER)
        descent.leases[memory] = memory.lease_meanwhile(request.key, seen, stack.degraded_l1_ttl)


def _go_on_from_memory(stack: Stack, descent: Lookup) -> None:
    """The authority is away: for a while, what memory had is served, and called stale.

    Not to a load, whose result would outlive it.
    """
    request = descent.request
    record = stack.memory.last_known(request.key, stack.degraded_l1_ttl)
    if record is None or request.kind.policy.strict or sources.must_ask_below(stack):
        return
    verdict = decide.judge(record, request.kind.policy, stack.now(), generating=request.generating)
    if verdict in (Verdict.FALLBACK, Verdict.UNFIT):
        return
    try:
        value = stack.decode(record, request.kind, request.want)
    except CorruptEntry:
        return
    descent.answer = Answer(record, "l1", value=value, stale=True, found_at=request.key)


async def _lease(stack: Stack, tier: Tier, descents: Sequence[Lookup], *, loading: bool) -> None:
    unavailable = Missing(0, Why.UNAVAILABLE)
    seen = [descent.seen.get(tier.name, [unavailable])[0] for descent in descents]
    # Memory that may not be trusted is filled all the same: what it kept would else come back with
    # the trust, older than what was stored below meanwhile.
    asking = [
        (descent, answer)
        for descent, answer in zip(descents, seen, strict=True)
        if tier is stack.memory or isinstance(answer, Found) or answer.why is not Why.UNAVAILABLE
    ]
    if not asking:
        return
    try:
        granted = await tier.lease(
            [descent.request.key for descent, _ in asking],
            [
                answer if (since := descent.request.since) is None else since.get(tier.name, NEVER)
                for descent, answer in asking
            ],
        )
    except TierUnavailable as error:
        stack.trace.tier_failed(tier.name, str(error))
        return
    above = sources.not_for_this(stack)
    for (descent, _), answer in zip(asking, granted, strict=True):
        match answer:
            case Lease():
                descent.leases[tier] = answer
            case Found() if tier.name not in above:
                _take(stack, tier, descent, [answer], loading=loading)
            case Busy():
                descent.busy = answer


async def _promote(stack: Stack, found: Sequence[Lookup]) -> None:
    """Store what a `get` has found in the shared tiers above the one that had it.

    On its way down it takes no leases there: most find nothing, and others would have to wait for a
    load that nobody runs. As the value was read before these leases were granted, it is looked for
    once more.
    """
    for depth, tier in enumerate(stack.lower[:-1]):
        below = {lower.name for lower in stack.lower[depth + 1 :]}
        passed = [
            descent
            for descent in found
            if (answer := descent.answer) is not None
            and answer.tier in below
            # A shared tier would hand a general value to processes that know nothing of the more
            # specific candidates.
            and answer.found_at == descent.request.key
        ]
        await _lease(stack, tier, passed, loading=False)
        held = [each for each in passed if tier in each.leases]
        answers = [each.answer for each in held if each.answer is not None]
        entries = [
            answer.entry if there else None
            for answer, there in zip(answers, await still_there(stack, answers), strict=True)
        ]
        with suppress(TierUnavailable):
            await tier.fill([each.leases[tier] for each in held], entries)


def _was_deep(stack: Stack, descent: Lookup) -> bool:
    """Whether a shared tier above the one that answered was passed."""
    names = [tier.name for tier in stack.lower[1:]]
    return descent.answer is not None and descent.answer.tier in names


async def still_there(stack: Stack, answers: Sequence[Answer]) -> list[bool]:
    """Whether the tiers that had these answers have them now."""
    there: dict[int, bool] = {}
    for tier in stack.tiers:
        asked = [index for index, answer in enumerate(answers) if answer.tier == tier.name]
        keys = [key for index in asked if (key := answers[index].found_at) is not None]
        try:
            found = await tier.read(keys) if keys else []
        except TierUnavailable:
            continue
        for index, now in zip(asked, found, strict=True):
            was = answers[index].entry
            there[index] = isinstance(now, Found) and (now.entry.created, now.entry.data) == (
                was.created,
                was.data,
            )
    return [there.get(index, False) for index in range(len(answers))]


def _take(
    stack: Stack, tier: Tier, descent: Lookup, seen: list[Found | Missing], *, loading: bool
) -> None:
    """Judge what a tier answered; an entry that does not decode counts as missing."""
    request = descent.request
    # As it was answered: a lease has to know of an entry that does not decode, to replace it.
    descent.seen[tier.name] = list(seen)
    for key, each in zip(request.candidates, seen, strict=False):  # memory: not all are asked for
        if isinstance(each, Missing) and each.why is Why.CORRUPT:
            stack.trace.corrupt(request.kind, key, tier.name, "it is damaged, or another key's")
    while True:
        choice = decide.choose(
            seen,
            request.kind.policy,
            stack.now(),
            generating=request.generating,
            candidates=len(request.candidates),
        )
        if choice.at is None:
            return
        found = seen[choice.at]
        assert isinstance(found, Found)
        key = request.candidates[choice.at]
        try:
            value = stack.decode(found.entry, request.kind, request.want)
        except CorruptEntry as error:
            stack.trace.corrupt(request.kind, key, tier.name, str(error))
            seen[choice.at] = Missing(found.q, Why.CORRUPT)
            continue
        break
    stale = choice.verdict in (Verdict.STALE, Verdict.FALLBACK)
    answer = Answer(found.entry, tier.name, value=value, stale=stale, found_at=key)
    if choice.verdict is Verdict.FRESH or (not loading and choice.verdict is not Verdict.FALLBACK):
        descent.answer = answer
    elif choice.verdict is Verdict.FALLBACK:
        descent.spare = answer
    else:
        descent.servable = answer


def _for_tiers_above(stack: Stack, descent: Lookup) -> Entry | None:
    """What the tiers that were passed get of an answer that was found below them."""
    answer, request = descent.answer, descent.request
    assert answer is not None
    assert answer.found_at is not None
    if answer.found_at == request.key:
        return answer.entry
    looked_at = request.candidates[: request.candidates.index(answer.found_at) + 1]
    # Only memory keeps a general answer for the context that was asked: a shared tier would hand
    # it to processes that know nothing of the more specific candidates.
    if set(descent.leases) <= {stack.memory}:
        return decide.as_general_answer(answer.entry, looked_at, stack.now())
    return None
