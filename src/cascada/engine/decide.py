"""What a read decides, without any input or output: a table of entry, policy and time.

Nothing here looks at invalidations: a tier only ever finds what is valid now. What is judged is
age, and whether a remembered absence answers this caller.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum
from typing import Final, NamedTuple

from cascada.engine.kinds import Kind, stale_window
from cascada.model.entry import Entry, Flag
from cascada.model.keys import Key
from cascada.model.names import entry_name, key_name
from cascada.model.policy import Policy
from cascada.tiers.contract import Found, Missing
from cascada.tiers.memory.record import Record

_ABSENT: Final = int(Flag.ABSENT)  # calculating with the enum's member takes half a microsecond

GENERAL_ANSWER_TTL: Final = 5.0
"""Seconds that memory keeps a more general context's value for the context that was asked."""

NO_REFRESH: Final = -1.0
"""`Request.stale_for` of who has a loader that ends with his call: nothing is served to him that
would have to be refreshed in the background, and nothing is refreshed ahead of its expiry."""


class Verdict(Enum):
    """What may be done with an entry; the values are what `explain` calls it."""

    FRESH = "fresh"  # serve it
    REFRESH_DUE = "refresh_due"  # serve it, and refresh it ahead of its expiry
    STALE = "stale"  # serve it, and refresh it
    FALLBACK = "fallback"  # keep it, in case the source fails
    UNFIT = "unfit"  # as if it were not there


def judge(
    entry: Entry,
    policy: Policy,
    now: float,
    *,
    generating: bool,
    stale_for: float | None = None,
    hot: bool = False,
) -> Verdict:
    """What a read may do with a valid entry at wall-clock time `now`.

    `generating`: the caller has a generator, so that an absence which was stored without asking
    one says nothing to it. `stale_for`: as of `Request`. `hot`: a tier above has found that it is.
    """
    if entry.flags >> 8 != policy.version:
        return Verdict.UNFIT
    if generating and entry.flags & Flag.ABSENT and not entry.flags & Flag.GENERATOR_ASKED:
        return Verdict.UNFIT
    if now < entry.fresh_until:
        ahead = policy.refresh_at is not None and stale_for != NO_REFRESH
        due = ahead and now >= refresh_from(entry, policy) and (hot or _is_hot(entry, policy))
        return Verdict.REFRESH_DUE if due else Verdict.FRESH
    if now >= entry.expires:
        return Verdict.UNFIT
    if now < entry.fresh_until + (stale_window(policy) if stale_for is None else stale_for):
        return Verdict.STALE
    return Verdict.FALLBACK


def _is_hot(entry: Entry, policy: Policy) -> bool:
    """Whether it is read so often that its next value is brought before anybody waits for it.

    Memory alone counts that.
    """
    wanted = policy.refresh_hits
    return not wanted or (isinstance(entry, Record) and entry.hits >= wanted)


def refresh_from(entry: Entry, policy: Policy) -> float:
    """The wall-clock time from which a hit starts a refresh; its expiry if none is wished."""
    if policy.refresh_at is None:
        return entry.fresh_until
    return entry.created + (entry.fresh_until - entry.created) * policy.refresh_at


def due_at(kind: Kind, entry: Entry, *, debug: bool) -> float:
    """When a hit on `entry` stops being a matter of course (wall clock)."""
    policy = kind.policy
    if entry.flags & _ABSENT:
        return -math.inf  # whether an absence answers depends on who asks
    if debug and policy.shared:
        return -math.inf  # each hit is looked at by `Stack.decode`
    due = entry.fresh_until if policy.refresh_at is None else refresh_from(entry, policy)
    return min(due, entry.expires)


class Choice(NamedTuple):
    """The candidate that answers, if one does, and the most specific one that may in need."""

    at: int | None
    verdict: Verdict


def choose(
    answers: Sequence[Found | Missing],
    policy: Policy,
    now: float,
    *,
    generating: bool,
    candidates: int,
    stale_for: float | None = None,
    hot: bool = False,
) -> Choice:
    """The first candidate that may be served; else the first that is a spare.

    `candidates`: how many there are, though this tier may have been asked for the first alone.
    `hot`: as of `judge`.
    """
    if policy.lookup == "by_level":
        return _choose_by_level(answers, policy, now, generating, candidates)
    spare: int | None = None
    for index, answer in enumerate(answers):
        if isinstance(answer, Found):
            verdict = judge(
                answer.entry, policy, now, generating=generating, stale_for=stale_for, hot=hot
            )
            if verdict in (Verdict.FRESH, Verdict.REFRESH_DUE, Verdict.STALE):
                return Choice(index, verdict)
            if verdict is Verdict.FALLBACK and spare is None:
                spare = index
    return Choice(spare, Verdict.FALLBACK if spare is not None else Verdict.UNFIT)


def _choose_by_level(
    answers: Sequence[Found | Missing],
    policy: Policy,
    now: float,
    generating: bool,
    candidates: int,
) -> Choice:
    """The first value whose more specific candidates are all known to be absent, now.

    If all are absent, that is the answer, and it depends on the last one as on the others.
    """
    for index, answer in enumerate(answers):
        if not isinstance(answer, Found):
            break  # unknown: what is more general may be the wrong value
        verdict = judge(answer.entry, policy, now, generating=generating)
        absent = answer.entry.flags & Flag.ABSENT
        if not absent or index + 1 == candidates:
            return Choice(None if verdict is Verdict.UNFIT else index, verdict)
        if verdict not in (Verdict.FRESH, Verdict.REFRESH_DUE):
            break
    return Choice(None, Verdict.UNFIT)


def as_general_answer(entry: Entry, candidates: Sequence[Key], now: float) -> Entry:
    """`entry`, found under the last of `candidates`, as memory may keep it for the first.

    It bears the key names of all of them: as soon as a more specific value is set, it goes. And the
    name of the entry itself, whose life it shares.
    """
    names = (*entry.names, *map(key_name, candidates[1:]), entry_name(candidates[-1]))
    return Entry(
        entry.data,
        entry.codec,
        entry.flags,
        entry.created,
        min(entry.fresh_until, now + GENERAL_ANSWER_TTL),
        min(entry.expires, now + GENERAL_ANSWER_TTL),
        tuple(dict.fromkeys(names)),
        entry.version,
        entry.value,
        entry.cost,
    )
