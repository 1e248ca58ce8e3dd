"""The figures of two runs, side by side, and whether they reach the targets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import mean, median, quantiles
from typing import Any, Final

from examples.agent_service.drive import Run

HIT_RATIO: Final = 0.85
LATENCY: Final = -0.80
DB_QUERIES: Final = -0.70
MODEL_CALLS: Final = -0.60
TOKENS: Final = -0.60


@dataclass(frozen=True, slots=True)
class Figures:
    """One run. Milliseconds are of reads, at the client."""

    mean_ms: float
    median_ms: float
    p95_ms: float
    write_ms: float
    db_queries: int
    model_calls: int
    embedding_calls: int
    tokens: int
    cache: dict[str, int]

    @property
    def hit_ratio(self) -> float:
        """Hits over hits and misses of loading reads; coalesced reads are neither."""
        hits = sum(self.cache[tier] for tier in ("l1", "l2", "l3"))
        return hits / ((hits + self.cache["misses"]) or 1)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The two runs of one skew."""

    skew: float
    without: Figures
    with_cache: Figures

    @property
    def latency(self) -> float:
        """Of the mean: the median of a run that mostly hits would hide what the misses cost."""
        return _change(self.without.mean_ms, self.with_cache.mean_ms)

    @property
    def db_queries(self) -> float:
        return _change(self.without.db_queries, self.with_cache.db_queries)

    @property
    def model_calls(self) -> float:
        return _change(self.without.model_calls, self.with_cache.model_calls)

    @property
    def tokens(self) -> float:
        return _change(self.without.tokens, self.with_cache.tokens)


def figures(run: Run) -> Figures:
    milliseconds = [answered.seconds * 1000 for answered in run.answers]
    stats: dict[str, Any] = run.stats
    return Figures(
        mean_ms=mean(milliseconds),
        median_ms=median(milliseconds),
        p95_ms=quantiles(milliseconds, n=20)[-1],
        write_ms=mean(run.write_seconds) * 1000 if run.write_seconds else 0.0,
        db_queries=stats["database"]["queries"],
        model_calls=stats["model"]["calls"],
        embedding_calls=stats["embedding"]["calls"],
        tokens=stats["model"]["tokens"],
        cache=stats["cache"]["total"],
    )


def missed_targets(outcome: Outcome) -> list[str]:
    """A sentence for each target that was not reached."""
    sentences = []
    if not outcome.with_cache.hit_ratio > HIT_RATIO:
        sentences.append(f"hit ratio {outcome.with_cache.hit_ratio:.3f}, target > {HIT_RATIO}")
    for name, reached, target in (
        ("mean latency", outcome.latency, LATENCY),
        ("database queries", outcome.db_queries, DB_QUERIES),
        ("model calls", outcome.model_calls, MODEL_CALLS),
        ("model tokens", outcome.tokens, TOKENS),
    ):
        if reached > target:
            sentences.append(f"{name} {reached:+.1%}, target {target:+.0%}")
    return sentences


def summary(outcome: Outcome) -> str:
    """The last line of the demo."""
    return (
        f"demo: hit_ratio={outcome.with_cache.hit_ratio:.2f} latency={outcome.latency:+.0%} "
        f"db_queries={outcome.db_queries:+.0%} model_calls={outcome.model_calls:+.0%}"
    )


HEADER: Final = (
    *("skew", "run", "mean ms", "median ms", "p95 ms", "write ms"),
    *("db queries", "model calls", "embedding calls", "tokens"),
    *("hit ratio", "L1", "L2", "L3", "misses", "stale", "coalesced"),
)


def rows(outcome: Outcome) -> Iterator[tuple[str, ...]]:
    """The table's rows of one skew: without, with, and the change."""
    yield f"{outcome.skew}", "without cascada", *_row(outcome.without), *[""] * 7
    cache, ratio = outcome.with_cache.cache, outcome.with_cache.hit_ratio
    counts = (cache[name] for name in ("l1", "l2", "l3", "misses", "stale", "coalesced"))
    yield "", "with cascada", *_row(outcome.with_cache), f"{ratio:.3f}", *map(str, counts)
    changes = (
        _change(old, new)
        for old, new in zip(_numbers(outcome.without), _numbers(outcome.with_cache), strict=True)
    )
    yield "", "change", *(f"{change:+.0%}" for change in changes), *[""] * 7


def _row(run: Figures) -> list[str]:
    numbers = _numbers(run)
    return [f"{ms:.1f}" for ms in numbers[:4]] + [f"{count:,}" for count in numbers[4:]]


def _numbers(run: Figures) -> tuple[float, ...]:
    return (
        *(run.mean_ms, run.median_ms, run.p95_ms, run.write_ms),
        *(run.db_queries, run.model_calls, run.embedding_calls, run.tokens),
    )


def _change(old: float, new: float) -> float:
    return (new - old) / old if old else 0.0
