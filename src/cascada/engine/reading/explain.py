"""Why a read is answered as it is: every candidate in every tier, without side effects."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from cascada.engine import decide
from cascada.engine.reading.lookup import choose
from cascada.engine.request import Request
from cascada.engine.stack import Stack
from cascada.model.entry import Flag
from cascada.model.errors import CorruptEntry, TierUnavailable
from cascada.model.keys import Key
from cascada.model.names import static_names
from cascada.tiers.capabilities import (
    Inspectable,
    NameState,
    Remembers,
    Stored,
)
from cascada.tiers.contract import (
    Found,
    Missing,
    Tier,
    Why,
)

SHOWN: Final = 8
"""Sources of an entry that are written out; an answer may have a thousand."""


class Finding(msgspec.Struct, frozen=True):
    """What one tier has for one candidate. Ages and lifetimes are seconds.

    `marks` are the names that the stored entry bears, each with what it was stored under and what
    holds now: nonces in Redis, numbers of invalidations in memory and the database. `by` is the
    name that ended the entry (if nothing is left of it: that was invalidated last), `ago` when that
    was, as far as the tier remembers it; `detail` why a tier could not be asked.
    """

    tier: str
    key: str
    state: str
    age: float | None = None
    fresh_for: float | None = None
    size: int | None = None
    by: str | None = None
    ago: float | None = None
    names: tuple[str, ...] = ()
    marks: tuple[NameState, ...] = ()
    detail: str | None = None

    @property
    def made_of(self) -> tuple[str, ...]:
        """The keys of the sources that it was made from."""
        return tuple(name.removeprefix("k:") for name in self.names if name.startswith("k:"))

    def __str__(self) -> str:
        line = f"  {self.tier}  {self.key}  {self.state}"
        if self.by is not None:
            line += f" by {self.by}"
        if self.ago is not None:
            line += f", {self.ago:.0f} s ago"
        if self.age is not None:
            line += f", age {self.age:.1f} s, {self.size} B"
        if self.fresh_for is not None:
            line += f", fresh for {self.fresh_for:.1f} s"
        if self.detail is not None:
            line += f": {self.detail}"
        shown = [f"        made from {key}" for key in self.made_of[:SHOWN]]
        if len(self.made_of) > SHOWN:
            shown.append(f"        ... and {len(self.made_of) - SHOWN} more")
        dead = [mark for mark in self.marks if not mark.valid]
        lines = [f"        {mark.name}: {mark.stored}, now {mark.current}" for mark in dead]
        return "\n".join([line, *shown, *lines])


class Explanation(msgspec.Struct, frozen=True):
    """Every finding, in the order in which a read looks, and what it comes to.

    `unstored`: why this process did not store what it has loaded last, if it did not. `prefetched`:
    what memory has was brought ahead, and nobody has asked for it yet.
    """

    key: str
    verdict: str
    findings: tuple[Finding, ...]
    unstored: str | None = None
    prefetched: bool = False

    def __str__(self) -> str:
        lines = [f"{self.key}: {self.verdict}", *map(str, self.findings)]
        if self.prefetched:
            lines.append("  what l1 has was prefetched, and nobody has asked for it yet")
        if self.unstored is not None:
            lines.append(f"  what was loaded last is not stored: {self.unstored}")
        return "\n".join(lines)


async def explain(stack: Stack, request: Request) -> Explanation:
    """Ask every tier for every candidate, though a read would stop at the first answer."""
    findings: list[Finding] = []
    verdict = "a miss: no tier has a value that may be served"
    decided = False
    for tier in stack.tiers:
        # Looked into first: a read drops what it finds dead.
        held = [await _holding(tier, key) for key in request.candidates]
        answers, refusal = await _ask(stack, tier, request)
        for index, (key, holding) in enumerate(zip(request.candidates, held, strict=True)):
            said = refusal
            if (damage := _damage(stack, request, answers[index])) is not None:
                answers[index], said = Missing(answers[index].seq, Why.CORRUPT), damage
            answer = answers[index]
            finding = _finding(stack, request, tier, key, answer, holding, said)
            findings.append(await _with_ending(tier, key, finding))
        if decided:
            continue
        looked_at = len(stack.keys_for(tier, request.candidates))
        choice = choose(stack, request, answers[:looked_at])
        if choice.at is not None and choice.verdict is not decide.Verdict.FALLBACK:
            found = request.candidates[choice.at]
            verdict = f"a hit in {tier.name} ({choice.verdict.value}), under {found}"
            decided = True
    unstored = stack.trace.why_unstored(request.key)
    prefetched = stack.ahead.holds(request.key)
    return Explanation(request.key.text, verdict, tuple(findings), unstored, prefetched)


async def _with_ending(tier: Tier, key: Key, finding: Finding) -> Finding:
    """What was invalidated says when; if nothing is left of it, that it was."""
    if not isinstance(tier, Remembers) or finding.state not in (Why.ABSENT, Why.INVALIDATED):
        return finding
    try:
        ending = await tier.ended(static_names(key) if finding.by is None else [finding.by])
    except TierUnavailable:
        return finding
    if ending is None:
        return finding
    return replace(finding, state=Why.INVALIDATED.value, by=ending.name, ago=ending.ago)


async def _holding(tier: Tier, key: Key) -> Stored | None:
    try:
        return await tier.holding(key) if isinstance(tier, Inspectable) else None
    except TierUnavailable:
        return None


async def _ask(
    stack: Stack, tier: Tier, request: Request
) -> tuple[list[Found | Missing], str | None]:
    """What the tier answers, and why it does not where it cannot."""
    try:
        answers = await tier.read(request.candidates)
    except TierUnavailable as error:
        return [Missing(0, Why.UNAVAILABLE)] * len(request.candidates), str(error)
    answers = list(answers)
    if tier is not stack.memory:
        return answers, None
    silent = stack.memory.freshness.distrusted(stack.timer())
    return answers, f"memory has heard of no invalidations for {silent:.1f} s"


def _damage(stack: Stack, request: Request, answer: Found | Missing) -> str | None:
    """Why a read would find that what is stored does not decode, and so pass it over."""
    if isinstance(answer, Missing) or answer.entry.flags & Flag.ABSENT:
        return None
    try:
        stack.decode(answer.entry, request.kind, request.want)
    except CorruptEntry as error:
        return str(error)
    return None


def _finding(
    stack: Stack,
    request: Request,
    tier: Tier,
    key: Key,
    answer: Found | Missing,
    holding: Stored | None,
    refusal: str | None,
) -> Finding:
    marks = () if holding is None else holding.marks
    if isinstance(answer, Missing):
        detail = refusal if answer.why in (Why.UNAVAILABLE, Why.CORRUPT) else None
        state = answer.why.value
        return Finding(tier.name, key.text, state, by=answer.by, marks=marks, detail=detail)
    entry, now = answer.entry, stack.now()
    verdict = decide.judge(entry, request.kind.policy, now, generating=request.generating)
    return Finding(
        tier.name,
        key.text,
        verdict.value,
        age=max(0.0, now - entry.created),
        fresh_for=entry.fresh_until - now,
        size=len(entry.data),
        names=entry.names,
        marks=marks,
    )
