"""The figures of two runs, side by side, and whether they reach the targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    cache: dict[str, Any]

    @property
    def hit_ratio(self) -> float:
        """Hits over hits and misses of loading reads; coalesced reads are neither."""
        hits: int = sum(self.cache["by_tier"].values())
        misses: int = self.cache["misses"]
        return hits / ((hits + misses) or 1)


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


def missed_targets(outcome: Outcome, *, still: bool = True) -> list[str]:
    """A sentence for each target that was not reached.

    Counts decide, which no other work on the machine changes; latency only where it holds `still`.
    """
    sentences = []
    if not outcome.with_cache.hit_ratio > HIT_RATIO:
        sentences.append(f"hit ratio {outcome.with_cache.hit_ratio:.3f}, target > {HIT_RATIO}")
    for name, reached, target in (
        ("mean latency", outcome.latency, LATENCY),
        ("database queries", outcome.db_queries, DB_QUERIES),
        ("model calls", outcome.model_calls, MODEL_CALLS),
        ("model tokens", outcome.tokens, TOKENS),
    ):
        if reached > target and (still or name != "mean latency"):
            sentences.append(f"{name} {reached:+.1%}, target {target:+.0%}")
    return sentences


def summary(outcome: Outcome) -> str:
    """The last line of the demo."""
    return (
        f"demo: hit_ratio={outcome.with_cache.hit_ratio:.2f} latency={outcome.latency:+.0%} "
        f"db_queries={outcome.db_queries:+.0%} model_calls={outcome.model_calls:+.0%}"
    )


def table(outcomes: Sequence[Outcome]) -> str:
    """All figures, before (without cascada) and after (with it), a row for each; 80 columns."""
    lines = ["".ljust(_LABEL) + "".join(f"skew {each.skew}".center(_GROUP) for each in outcomes)]
    lines.append("".ljust(_LABEL) + "".join(_cells(*_COLUMNS) for _ in outcomes))
    for label, figure in _COMPARED.items():
        cells = (_compared(figure(each.without), figure(each.with_cache)) for each in outcomes)
        lines.append(label.ljust(_LABEL) + "".join(cells))
    for label, figure in _OF_THE_CACHE.items():
        cells = (_cells("", _short(figure(each.with_cache)), "") for each in outcomes)
        lines.append(label.ljust(_LABEL) + "".join(cells))
    return "\n".join(line.rstrip() for line in lines)


_COLUMNS: Final = ("before", "after", "change")
_LABEL: Final = 15
_WIDTH: Final = 7
_GROUP: Final = _WIDTH * len(_COLUMNS)
_COMPARED: Final[dict[str, Callable[[Figures], float]]] = {
    "mean ms": lambda run: run.mean_ms,
    "median ms": lambda run: run.median_ms,
    "p95 ms": lambda run: run.p95_ms,
    "write ms (mean)": lambda run: run.write_ms,
    "db queries": lambda run: run.db_queries,
    "model calls": lambda run: run.model_calls,
    "embedding calls": lambda run: run.embedding_calls,
    "tokens": lambda run: run.tokens,
}
_OF_THE_CACHE: Final[dict[str, Callable[[Figures], float]]] = {
    "hit ratio": lambda run: run.hit_ratio,
    "hits in L1": lambda run: run.cache["by_tier"].get("l1", 0),
    "hits in L2": lambda run: run.cache["by_tier"].get("l2", 0),
    "hits in L3": lambda run: run.cache["by_tier"].get("l3", 0),
    "misses": lambda run: run.cache["misses"],
    "(stale)": lambda run: run.cache["stale"],
    "(coalesced)": lambda run: run.cache["coalesced"],
}


def _compared(old: float, new: float) -> str:
    return _cells(_short(old), _short(new), f"{_change(old, new):+.0%}")


def _cells(*texts: str) -> str:
    return "".join(text.rjust(_WIDTH) for text in texts)


def _short(number: float) -> str:
    """At most six characters."""
    if isinstance(number, int):
        return f"{number:,}" if number < 100_000 else f"{number // 1000:,}k"
    return f"{number:.3f}" if number < 1 else f"{number:.1f}"


def _change(old: float, new: float) -> float:
    return (new - old) / old if old else 0.0
