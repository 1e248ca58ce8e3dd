"""Why a read is answered as it is: every candidate in every tier, without side effects."""

from __future__ import annotations

from dataclasses import dataclass

from cascada.engine import decide
from cascada.engine.answer import Question
from cascada.engine.stack import Stack
from cascada.model.errors import TierUnavailable
from cascada.tiers.base import Found, Missing, Tier, Why


@dataclass(frozen=True, slots=True)
class Finding:
    """What one tier has for one candidate. Ages and lifetimes are seconds; `by` is the name whose
    invalidation ended the entry, where the tier knows it."""

    tier: str
    key: str
    state: str
    age: float | None = None
    fresh_for: float | None = None
    size: int | None = None
    by: str | None = None
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """Every finding, in the order in which a read looks, and what it comes to."""

    key: str
    verdict: str
    findings: tuple[Finding, ...]

    def __str__(self) -> str:
        lines = [f"{self.key}: {self.verdict}"]
        for finding in self.findings:
            line = f"  {finding.tier}  {finding.key}  {finding.state}"
            if finding.age is not None:
                line += f", age {finding.age:.1f} s, {finding.size} B"
            if finding.fresh_for is not None:
                line += f", fresh for {finding.fresh_for:.1f} s"
            if finding.by is not None:
                line += f" by {finding.by}"
            lines.append(line)
        return "\n".join(lines)


async def explain(stack: Stack, question: Question) -> Explanation:
    """Ask every tier for every candidate, though a read would stop at the first answer."""
    findings: list[Finding] = []
    verdict = "a miss: no tier has a value that may be served"
    decided = False
    for tier in stack.tiers:
        answers = await _ask(tier, question)
        for key, answer in zip(question.candidates, answers, strict=True):
            findings.append(_finding(stack, question, tier, key.text, answer))
        if decided:
            continue
        looked_at = len(stack.keys_for(tier, question.candidates))
        choice = decide.choose(
            answers[:looked_at], question.kind.policy, stack.now(), generating=question.generating
        )
        if choice.index is not None and choice.verdict is not decide.Verdict.SPARE:
            key = question.candidates[choice.index]
            verdict = f"a hit in {tier.name} ({choice.verdict.name.lower()}), under {key}"
            decided = True
    return Explanation(question.key.text, verdict, tuple(findings))


async def _ask(tier: Tier, question: Question) -> list[Found | Missing]:
    try:
        return await tier.read(question.candidates)
    except TierUnavailable:
        return [Missing(0, Why.UNAVAILABLE)] * len(question.candidates)


def _finding(
    stack: Stack, question: Question, tier: Tier, key: str, answer: Found | Missing
) -> Finding:
    if isinstance(answer, Missing):
        return Finding(tier.name, key, answer.why.value, by=answer.by)
    entry, now = answer.entry, stack.now()
    verdict = decide.judge(entry, question.kind.policy, now, generating=question.generating)
    return Finding(
        tier.name,
        key,
        verdict.name.lower(),
        age=now - entry.created,
        fresh_for=entry.fresh_until - now,
        size=len(entry.data),
        names=entry.names,
    )
