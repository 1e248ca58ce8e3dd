"""The read path, top to bottom.

The usual hit never gets here: `MemoryTier.peek` answers it inside the caller's own coroutine.
`get` falls through the tiers; `load` does too, and lets the source fill in what none of them has,
once for all who ask at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cascada.engine import decide
from cascada.engine.decide import Verdict
from cascada.engine.loading import dependencies as sources
from cascada.engine.loading.encode import encoded, is_typed
from cascada.engine.reading import fences as fence
from cascada.engine.reading.answers import opens
from cascada.engine.reading.fast_path import SharedRead, hits, look
from cascada.engine.reading.fences import Fence
from cascada.engine.reading.load import run_load
from cascada.engine.reading.lookup import look_up
from cascada.engine.request import Answer, Fences, Loader, Request
from cascada.engine.stack import Stack
from cascada.engine.tasks.limits import Ticket
from cascada.engine.tasks.singleflight import Flight, Waiter
from cascada.model.entry import Hit
from cascada.model.errors import CorruptEntry, SerializationError
from cascada.tiers.contract import Fence as TierFence
from cascada.tiers.contract import Found


async def get_one(stack: Stack, request: Request) -> Hit[Any] | Answer | Fence:
    """`get_all` of one, together with all who ask in this turn of the event loop.

    But for values of a declared type: its own code makes them, and may look at its caller's context
    (whose tenant this is, say), so that nobody else makes them.
    """
    if not stack.lower or sources.current(stack) is not None or is_typed(request):
        return (await get_all(stack, [request]))[0]
    started = stack.timer()
    if len(stack.flights):
        await _until_stored(stack, [request])
    hit, known = await stack.shared_reads.ask(request)
    if hit is None:
        (found,) = await _fall(stack, [request], known)
        account(stack, [request], [found], started)
        return found
    stack.trace.answered([request], [hit], stack.timer() - started)
    return hit  # type: ignore[no-any-return]


async def get_all(stack: Stack, requests: Sequence[Request]) -> list[Hit[Any] | Answer | Fence]:
    """What the tiers have: mostly hits, else what a decision has found; else a fence."""
    started = stack.timer()
    await _until_stored(stack, requests)
    read, known = await hits(stack, requests)
    open_ = [request for request, hit in zip(requests, read, strict=True) if hit is None]
    fallen = iter(await _fall(stack, open_, known) if open_ else ())
    found = [next(fallen) if hit is None else hit for hit in read]
    account(stack, requests, found, started)
    return found


async def get(
    stack: Stack,
    requests: Sequence[Request],
    *,
    counted: bool = True,
    at_once: bool = False,
) -> list[Answer | Fence]:
    """What the tiers have, each question's first candidate that may be served; else its fence.

    Not `counted`: it is asked about a value, not for it. `at_once`: all of one moment.
    """
    started = stack.timer()
    await _until_stored(stack, requests)
    found = await _fall(stack, requests, None, at_once=at_once)
    if counted:
        account(stack, requests, found, started)
    return found


async def get_hidden(
    stack: Stack, requests: Sequence[Request], *, at_once: bool = False
) -> list[Fence]:
    """Read and count as `get` does, for callers who are not given what is found.

    So all of them may store what they read themselves.
    """
    started = stack.timer()
    descents = await look_up(stack, requests, loading=False, at_once=at_once)
    fences = await fence.remember(stack, descents)
    account(stack, requests, [descent.answer for descent in descents], started)
    return fences


async def fence_now(stack: Stack, request: Request) -> Fence:
    """The fence of a miss at this moment, whatever the tiers have."""
    descents = await look_up(stack, [request], loading=False)
    (now,) = await fence.remember(stack, descents)
    fence.take(stack, request.key)  # it serves this caller alone
    return now


async def _until_stored(stack: Stack, requests: Sequence[Request]) -> None:
    """Who has just been given the value of a load may look for it before a tier has it.

    So a value that is being stored is waited for, which its tiers bound. What is then found there
    is valid by their rules, whenever this caller has asked.
    """
    if not len(stack.flights):
        return
    for request in requests:
        for key in request.candidates:
            flight = stack.flights.find(key)
            if flight is not None and flight.is_being_stored:
                await flight.over()


async def _fall(
    stack: Stack,
    requests: Sequence[Request],
    known: SharedRead | None,
    *,
    at_once: bool = False,
) -> list[Answer | Fence]:
    """What the fall through the tiers finds; what it misses leaves a fence."""
    if known is not None and not known.tells(requests):
        known = None
    descents = await look_up(stack, requests, loading=False, known=known, at_once=at_once)
    missed = [each for each in descents if each.answer is None or fence.is_absence(each.answer)]
    fences = dict(zip(missed, await fence.remember(stack, missed), strict=True))
    found: list[Answer | Fence] = []
    for each in descents:
        if each.answer is None:
            found.append(fences[each])
        else:
            each.answer.fence = fences.get(each)
            found.append(each.answer)
    return found


async def known(
    stack: Stack, request: Request, *, wanted: bool
) -> tuple[Answer | None, list[Fences]]:
    """What the tiers have, if that is `wanted` and fresh: else nobody is told of the look.

    And the fence of each candidate for what is made from now on.
    """
    started = stack.timer()
    (descent,) = await look_up(stack, [request], loading=False)
    fences: list[Fences] = [
        {
            tier: TierFence(seen[index].q, seen[index].epoch, seen[index].mark)
            for tier, seen in descent.seen.items()
            if index < len(seen)  # memory above another tier is not asked for all
        }
        for index in range(len(request.candidates))
    ]
    answer = descent.answer
    if not wanted or answer is None or answer.stale:
        return None, fences
    account(stack, [request], [answer], started)
    return answer, fences


async def load(stack: Stack, requests: Sequence[Request], loader: Loader) -> list[Answer]:
    """What the tiers have, else what the loader brings; one load per key, whoever asks."""
    started = stack.timer()
    asked = stack.flights.moment()
    answers: dict[int, Answer] = {}
    known: SharedRead | None = None
    if len(requests) > 1:
        answers, known = await _look_first(stack, requests, loader)
    while len(answers) < len(requests):
        answers |= await at_hand(stack, requests, answers, loader)
        waiting = _board(stack, requests, answers, loader, asked, known)
        known = None
        try:
            for index, waiter in waiting:
                answer = await waiter.wait()
                if answer is not None and _asked_too_little(requests[index], waiter, answer):
                    continue  # look again: the next flight asks this caller's generator, too
                if answer is not None and opens(stack, requests[index], answer):
                    answers[index] = answer
        finally:
            for _, waiter in waiting:
                waiter.leave()
    in_order = [answers[index] for index in range(len(requests))]
    account(stack, requests, in_order, started)
    return in_order


async def load_uncached(stack: Stack, requests: Sequence[Request], loader: Loader) -> list[Answer]:
    """What the source says, past all tiers; only the bound on its concurrency is kept."""
    if not requests:
        return []
    urgent = sources.current(stack) is not None
    async with stack.limits.slot(requests[0].key.data_type, Ticket(urgent=urgent)):
        produced = await loader.load(requests)
    answers = []
    for request, made in zip(requests, produced, strict=True):
        if made.error is not None:
            raise made.error
        if is_typed(request) and not made.absent:
            try:
                entry = encoded(stack, request, made.value, None, (), None)
            except SerializationError as error:
                if stack.debug:
                    raise
                stack.trace.unstorable(request.kind, request.key, str(error))
            else:
                made.value = stack.decode(entry, request.kind, request.want)
        answers.append(made.answer())
        sources.note(stack, request, answers[-1])
    return answers


async def _look_first(
    stack: Stack, requests: Sequence[Request], loader: Loader
) -> tuple[dict[int, Answer], SharedRead | None]:
    """What memory has of many, and the tier below it, without a flight for each.

    Not of one alone: its callers may be many, and share a flight.
    """
    answers = _glance(stack, requests, {}, loader)
    open_ = [index for index in range(len(requests)) if index not in answers]
    found, known = await look(stack, [requests[index] for index in open_])
    answers.update(
        (index, answer) for index, answer in zip(open_, found, strict=True) if answer is not None
    )
    return answers, known


async def at_hand(
    stack: Stack, requests: Sequence[Request], answers: dict[int, Answer], loader: Loader
) -> dict[int, Answer]:
    """What may be served without waiting for a load, of the questions that have no answer yet."""
    found = _glance(stack, requests, answers, loader)
    if refreshed := _under_refresh(stack, requests, answers | found):
        found |= await _look_below(stack, refreshed)
    return found


def _glance(
    stack: Stack, requests: Sequence[Request], answers: dict[int, Answer], loader: Loader
) -> dict[int, Answer]:
    """What memory may serve at once. A value that is due or stale starts its refresh."""
    found: dict[int, Answer] = {}
    if sources.must_ask_below(stack):
        return found
    for index, request in enumerate(requests):
        if index in answers:
            continue
        keys = stack.keys_for(stack.memory, request.candidates)
        if not any(key in stack.memory.records for key in keys):
            continue
        seen = [stack.memory.look(key) for key in keys]
        choice = decide.choose(
            seen,
            request.kind.policy,
            stack.now(),
            generating=request.generating,
            candidates=len(request.candidates),
        )
        if choice.at is None or choice.verdict is Verdict.FALLBACK:
            continue
        hit = seen[choice.at]
        assert isinstance(hit, Found)
        try:
            value = stack.decode(hit.entry, request.kind, request.want)
        except CorruptEntry:
            continue  # the fall through the tiers meets it again, counts it and replaces it
        stale = choice.verdict is Verdict.STALE
        found[index] = Answer(hit.entry, "l1", value=value, stale=stale, found_at=keys[choice.at])
        if choice.verdict is not Verdict.FRESH:
            _refresh(stack, request, loader)
    return found


def _under_refresh(
    stack: Stack, requests: Sequence[Request], answers: dict[int, Answer]
) -> dict[int, Request]:
    """The open questions whose flight goes on to refresh what a tier had."""
    return {
        index: request
        for index, request in enumerate(requests)
        if index not in answers
        and (flight := stack.flights.find(request.key)) is not None
        and flight.found
    }


async def _look_below(stack: Stack, asking: dict[int, Request]) -> dict[int, Answer]:
    """What the tiers have of the keys that are being refreshed, though memory has not."""
    descents = await look_up(stack, list(asking.values()), loading=False)
    return {
        index: descent.answer
        for index, descent in zip(asking, descents, strict=True)
        if descent.answer is not None
    }


def _board(
    stack: Stack,
    requests: Sequence[Request],
    answers: dict[int, Answer],
    loader: Loader,
    asked: int,
    known: SharedRead | None,
) -> list[tuple[int, Waiter]]:
    """A place on a flight for every open request; those without a flight share a new task."""
    context = sources.current(stack)
    parent = None if context is None else context.owner
    refused = sources.not_for_this(stack)
    waiting: list[tuple[int, Waiter]] = []
    alone: dict[object, list[int]] = {}
    try:
        for index, request in enumerate(requests):
            if index in answers:
                continue
            flight = stack.flights.find(request.key)
            if flight is None:
                alone.setdefault(request.key, []).append(index)
            else:
                waiting.append((index, Waiter(flight, asked, parent, own=False, refused=refused)))
    except BaseException:
        for _, waiter in waiting:
            waiter.leave()
        raise
    if not alone:
        return waiting
    firsts = [indexes[0] for indexes in alone.values()]
    flights = stack.flights.prepare((requests[index] for index in firsts), kept=False)
    for flight, indexes in zip(flights, alone.values(), strict=True):
        for index in indexes:
            own = index == indexes[0]
            waiting.append((index, Waiter(flight, asked, parent, own=own, refused=refused)))
    # What was there before these flights began must not land: who asked since may not have it.
    lacking = (
        known if known is not None and known.lacks([each.request for each in flights]) else None
    )
    start_load(stack, flights, loader, lacking)
    return waiting


def _asked_too_little(request: Request, waiter: Waiter, answer: Answer) -> bool:
    """Whether a flight found nothing without asking a generator, which this caller has."""
    return answer.absent and request.generating and not waiter.flight.request.generating


def _refresh(stack: Stack, request: Request, loader: Loader) -> None:
    """Load anew in the background, unless somebody does, or it has just failed."""
    key = request.key
    if stack.flights.find(key) is None and not stack.flights.cooling(key, stack.timer()):
        start_load(stack, stack.flights.prepare([request], kept=True), loader)


def start_load(
    stack: Stack, flights: list[Flight], loader: Loader, known: SharedRead | None = None
) -> None:
    owner = flights[0].owner
    owner.task = stack.background.run(
        run_load(stack, flights, loader, known), f"load {flights[0].request.key}"
    )


def account(
    stack: Stack,
    requests: Sequence[Request],
    found: Sequence[Hit[Any] | Answer | Fence | None],
    started: float,
) -> None:
    """Count the answers, and tell the load that this runs in what it depends on."""
    answers = [None if isinstance(each, Fence) else each for each in found]
    stack.trace.answered(requests, answers, stack.timer() - started)
    if sources.current(stack) is not None:
        for request, answer in zip(requests, answers, strict=True):
            sources.note(stack, request, answer if isinstance(answer, Answer) else None)
