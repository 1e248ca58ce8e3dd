"""The figures of the columns side by side, and whether they reach the targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import Final

from examples.agent_service.drive import Bill, Column
from examples.agent_service.sync_act import Synced

HIT_RATIO: Final = 0.85
DB_QUERIES: Final = -0.70
MODEL_COST: Final = -0.60
LATENCY: Final = "-80 % to -95 %"
OBSERVABLE: Final = 200
"""Edits that answers have shown, at least: with few of them, nothing could have been wrong."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One column. Milliseconds are of reads, at the client."""

    name: str
    wrong: int
    failed: int
    mean_ms: float
    median_ms: float
    bill: Bill


@dataclass(frozen=True, slots=True)
class Outcome:
    """The columns of one race: without a cache, written by hand, with cascada. `observable`: edits
    that an answer of the first one has shown. `synced`: of cascada's campaigns, if they were."""

    skew: float
    without: Figures
    by_hand: Figures
    cascada: Figures
    observable: int
    synced: Synced | None = None

    @property
    def latency(self) -> float:
        """Of the mean: the median of a run that mostly hits would hide what the misses cost."""
        return _change(self.without.mean_ms, self.cascada.mean_ms)

    @property
    def db_queries(self) -> float:
        return _change(self.without.bill.queries, self.cascada.bill.queries)

    @property
    def model_calls(self) -> float:
        return _change(self.without.bill.model_calls, self.cascada.bill.model_calls)

    @property
    def model_cost(self) -> float:
        return _change(self.without.bill.dollars, self.cascada.bill.dollars)


def figures(column: Column, bill: Bill) -> Figures:
    tally = column.tally
    milliseconds = [seconds * 1000 for seconds in tally.seconds]
    return Figures(
        name=column.name,
        wrong=len(tally.wrong),
        failed=len(tally.failed),
        mean_ms=mean(milliseconds),
        median_ms=median(milliseconds),
        bill=bill,
    )


def missed_targets(outcome: Outcome, observable: int = OBSERVABLE) -> list[str]:
    """A sentence for each target that was not reached. Counts decide, which no other work on the
    machine changes; latency is shown and does not."""
    sentences = []
    for column in (outcome.without, outcome.cascada):
        if column.wrong:
            sentences.append(f"{column.name}: {column.wrong} wrong answers, target 0")
        if column.failed:
            sentences.append(f"{column.name}: {column.failed} failed requests, target 0")
    if not outcome.by_hand.wrong:
        sentences.append("no answer of the cache by hand was wrong: so this proves nothing")
    if outcome.observable < observable:
        sentences.append(f"{outcome.observable} edits were seen in answers, target {observable}")
    if not outcome.cascada.bill.hit_ratio > HIT_RATIO:
        sentences.append(f"hit ratio {outcome.cascada.bill.hit_ratio:.3f}, target > {HIT_RATIO}")
    for name, reached, target in (
        ("database queries", outcome.db_queries, DB_QUERIES),
        ("model calls", outcome.model_calls, MODEL_COST),
        ("model cost", outcome.model_cost, MODEL_COST),
    ):
        if reached > target:
            sentences.append(f"{name} {reached:+.1%}, target {target:+.0%}")
    return sentences


def missed_by_sync(outcome: Outcome) -> list[str]:
    """A sentence if the table lacks what was acknowledged."""
    if outcome.synced is None or not outcome.synced.missing:
        return []
    return [f"{outcome.synced.missing} updates of campaigns are not in their table, target 0"]


def summary(outcome: Outcome) -> str:
    """The last line of the demo: cascada against no cache."""
    return (
        f"demo: hit_ratio={outcome.cascada.bill.hit_ratio:.2f} latency={outcome.latency:+.0%} "
        f"db_queries={outcome.db_queries:+.0%} model_calls={outcome.model_calls:+.0%}"
    )


def own_account(outcome: Outcome) -> str:
    """What cascada says of itself, beside what was seen from outside."""
    own, without = outcome.cascada.bill, outcome.without.bill
    return (
        f"cascada's own account (stats): ${own.spent:.2f} spent on the model, ${own.saved:.2f} and "
        f"{own.seconds:.0f} s of waiting saved; no cache paid ${without.dollars - own.dollars:.2f} "
        "more for the same answers"
    )


HEADINGS: Final = ("no cache", "TTL by hand", "cascada", "change", "target")


def rows(outcome: Outcome) -> list[Sequence[str]]:
    """A row for each figure: the columns, cascada against no cache, and the target."""
    columns = (outcome.without, outcome.by_hand, outcome.cascada)
    calls = [f"{each.bill.model_calls:,}" for each in columns]
    synced: list[Sequence[str]] = []
    if (sync := outcome.synced) is not None:
        there = f"{sync.updates - sync.missing} of {sync.updates}"
        synced = [("synced updates", "", "", there, f"+{sync.seconds:.1f} s", "all")]
    return [
        ("WRONG ANSWERS", *(f"{each.wrong:,}" for each in columns), "", "0"),
        ("failed requests", *(f"{each.failed:,}" for each in columns), "", "0"),
        ("hit ratio", "", "", f"{outcome.cascada.bill.hit_ratio:.3f}", "", f"> {HIT_RATIO}"),
        ("database queries", *(f"{each.bill.queries:,}" for each in columns),
         _percent(outcome.db_queries), _percent(DB_QUERIES)),
        ("model calls", *calls, _percent(outcome.model_calls), _percent(MODEL_COST)),
        ("model cost", *(f"${each.bill.dollars:.2f}" for each in columns),
         _percent(outcome.model_cost), _percent(MODEL_COST)),
        ("mean latency", *(f"{each.mean_ms:.1f} ms" for each in columns),
         _percent(outcome.latency), LATENCY),
        ("median latency", *(f"{each.median_ms:.1f} ms" for each in columns),
         _percent(_change(outcome.without.median_ms, outcome.cascada.median_ms))),
        *synced,
    ]  # fmt: skip


def _percent(change: float) -> str:
    return f"{change * 100:+.0f} %"


def _change(old: float, new: float) -> float:
    return (new - old) / old if old else 0.0
