"""What a cache has done since this process started, and whether it is worth it and right.

`Cache.stats()` is the one place to ask: it gives a `Statistics`. The table that people read is
`str()` of it, and `cascada report` makes the same of the metrics pages of many processes. Nothing
here counts: the engine does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import islice
from typing import Final, TypeVar

from msgspec.structs import astuple

from cascada.api.costs_in_words import COSTS, in_words, of_costs, shown
from cascada.engine.engine import Engine
from cascada.engine.kinds import OTHER, VARIANTS, Kind
from cascada.model.bills.bill import Bill
from cascada.model.entry import MEMORY
from cascada.telemetry.custom import Series
from cascada.telemetry.latency import NO_TIMES, Times
from cascada.telemetry.restores import EXPIRED, NEW, SOONER

L = TypeVar("L", bound=Hashable)

_HEADINGS = (
    "reads", "hits", "ratio", "saved s", "checked", "differed", "1 s", "10 s", "consistent",
)  # fmt: skip


SAVED_BY: Final = ("hits", "replays", "coalesced")
"""How a read is answered without asking a source for it."""


LOW: Final = 0.5
LOW_FROM: Final = 100
OFTEN: Final = 0.3

_STORED_AS: Final = {
    EXPIRED: "was there until its ttl ended: a longer one would keep it",
    NEW: "never was before: do equal questions have equal keys?",
    SOONER: "goes before its ttl ends: it is invalidated, evicted or set anew",
}


@dataclass(frozen=True, slots=True)
class TypeStatistics:
    """One data type, of all tenants or of one. Reads that shared a load are neither hit nor miss.

    by_tier: hits, by the name of the tier that answered. coalesced: reads that shared another
    caller's load. stale: answers past their ttl. answer_seconds: how long all reads that memory did
    not answer at once have waited, misses for their loads, too. loads, load_failures, load_seconds:
    what loaders did, and took. refused: values that a tier did not take, as they were invalidated
    meanwhile. corrupt: stored bytes that did not decode. checked: hits that were compared with
    their source; so many differed at once, 1 s and 10 s later; unchecked: whose source did not say.
    timed_hits, timed_seconds: hits whose source was timed, too. stored, stored_bytes: what was
    given to the tiers; bulky: of it, what was larger than its type should be; no_room: what a tier
    had no room for. oversized, unstorable: loaded values that only their callers had.
    prefetch_fetched: what was brought before anybody asked for it; prefetch_used: what somebody
    then asked for; prefetch_wasted: what went before that (or never came: prefetch_failed).

    spent: what sources were asked for, for whatever reason, and took. saved_by: what reads have
    saved that were answered without: "hits" by what a tier had, "replays" by a stream that it had,
    "coalesced" by another caller's load; each is in one of them.

    times: how long answers took that a tier below memory gave, or the "source", by its name: of
    each data type in `Statistics.types`, of all tenants.

    stores: there, too, of this process alone: of a sample of the keys that were stored, how many
    were "new", had "expired", or went "sooner".
    """

    by_tier: Mapping[str, int] = field(default_factory=dict)
    misses: int = 0
    coalesced: int = 0
    stale: int = 0
    answer_seconds: float = 0.0
    loads: int = 0
    load_failures: int = 0
    load_seconds: float = 0.0
    refused: int = 0
    corrupt: int = 0
    checked: int = 0
    unchecked: int = 0
    differed: int = 0
    differed_1s: int = 0
    differed_10s: int = 0
    timed_hits: int = 0
    timed_seconds: float = 0.0
    stored: int = 0
    stored_bytes: int = 0
    bulky: int = 0
    no_room: int = 0
    oversized: int = 0
    unstorable: int = 0
    prefetch_fetched: int = 0
    prefetch_used: int = 0
    prefetch_wasted: int = 0
    prefetch_failed: int = 0
    spent: Bill = field(default_factory=Bill)
    saved_by: Mapping[str, Bill] = field(default_factory=lambda: dict.fromkeys(SAVED_BY, Bill()))
    times: Mapping[str, Times] = field(default_factory=dict)
    stores: Mapping[str, int] = field(default_factory=dict)

    @property
    def hits(self) -> int:
        return sum(self.by_tier.values())

    @property
    def reads(self) -> int:
        return self.hits + self.misses

    @property
    def hit_ratio(self) -> float:
        """Hits over hits and misses."""
        return self.hits / self.reads if self.reads else 0.0

    @property
    def mean_seconds(self) -> float | None:
        """How long a read waited that memory did not answer at once, in the mean."""
        waited = self.reads - self.by_tier.get(MEMORY, 0) + self.coalesced
        return self.answer_seconds / waited if waited else None

    @property
    def prefetch_precision(self) -> float | None:
        """Of what was prefetched and has come to its end, the share that was used."""
        known = self.prefetch_used + self.prefetch_wasted
        return self.prefetch_used / known if known else None

    @property
    def saved(self) -> Bill:
        """What all reads have saved that were answered without asking a source for them."""
        return sum(self.saved_by.values(), Bill())

    @property
    def saved_seconds(self) -> float:
        """The seconds of that: each read counts what the load of its value has taken, in whatever
        process (in mode observe: what its source took)."""
        return self.saved.seconds

    @property
    def why_low(self) -> list[str]:
        """Where less than half of at least 100 reads were hits: what is known of why."""
        if self.reads < LOW_FROM or self.hit_ratio >= LOW:
            return []
        unkept = self.unstorable + self.oversized + self.no_room
        why = []
        if self.loads and unkept >= OFTEN * self.loads:
            why.append(f"{unkept} of {self.loads} loaded values could not be stored: ask explain")
        stores = sum(self.stores.values())
        return why + [
            f"{times / stores:.0%} of what is stored {says}"
            for name, says in _STORED_AS.items()
            if (times := self.stores.get(name, 0)) and times >= OFTEN * stores
        ]

    @property
    def consistency(self) -> float | None:
        """The share of the checked hits that were right within 10 s; None if none was checked."""
        return 1 - self.differed_10s / self.checked if self.checked else None


@dataclass(frozen=True, slots=True)
class TierStatistics:
    """One tier. `misses`: reads that came to it and that it did not answer.

    What it holds (all processes' entries, where it is shared) is 0 for one that did not answer
    (`available` False). `capacity_bytes` 0 is unbounded.
    """

    hits: int = 0
    misses: int = 0
    available: bool = False
    entries: int = 0
    size_bytes: int = 0
    capacity_bytes: int = 0
    evictions: int = 0


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts since this process started; print it for the table and what it asks for.

    mode: of the cache ("mixed": of caches in several). types: by data type. tiers: by name, from
    memory down. tracked: the application's own measurements, and those of the cascades. workers: of
    how many processes that live these are the counts. tenants: the same for each tenant, of so many
    in the order in which they were first met; the rest is `other`. trials: of types with a
    `Policy(trial=)`, the share of its own policy, "a", and that of the one tried, "b".
    """

    mode: str
    types: Mapping[str, TypeStatistics]
    tiers: Mapping[str, TierStatistics] = field(default_factory=dict)
    tracked: Sequence[Series] = ()
    workers: int = 1
    tenants: Mapping[str, Statistics] = field(default_factory=dict)
    trials: Mapping[str, Mapping[str, TypeStatistics]] = field(default_factory=dict)

    @property
    def total(self) -> TypeStatistics:
        """All types together."""
        return added_up(list(self.types.values()))

    def __str__(self) -> str:
        total = self.total
        costs = [name for name, told in COSTS.items() if told(total.saved) or told(total.spent)]
        rows: list[tuple[str, ...]] = [("type", *_HEADINGS, *of_costs(costs))]
        for name, row in sorted(self.types.items()):
            rows.append((name, *_cells(row, costs)))
            for variant, part in self.trials.get(name, {}).items():
                rows.append((f"  {variant}", *_cells(part, costs)))
        rows.append(("all", *_cells(total, costs)))
        first, *others = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join([name.ljust(first), *map(str.rjust, cells, others)]) for name, *cells in rows
        ]
        of = [f"These are the counts of {self.workers} workers."] if self.workers > 1 else []
        low = [
            f"{name} has {row.hit_ratio:.0%} hits: {'; '.join(why)}."
            for name, row in sorted(self.types.items())
            if (why := row.why_low)
        ]
        return "\n".join([*lines, "", *of, self.advice, *low])

    @property
    def advice(self) -> str:
        """One sentence: what the figures ask for."""
        total, wrong = self.total, self._wrong
        would = "would have been" if self.mode == "observe" else "were"
        if not total.reads:
            return "Nothing has been read yet: come back when the service has had its traffic."
        if wrong:
            return (
                f"{total.differed_10s} of {total.checked} compared hits {would} wrong for 10 s and "
                f"longer: find what changes {wrong} without invalidating it, or let it "
                "expire sooner."
            )
        if self.mode == "off":
            return "The cache is off: set CASCADA_MODE=observe to learn what it would do."
        saved = ", ".join([f"{total.saved_seconds:.1f} s", *in_words(total.saved)])
        shared = f" and {total.coalesced} more shared a load" if total.coalesced else ""
        worth = (
            f"{total.hit_ratio:.0%} of the reads {would} hits{shared}, which "
            f"{'would have ' if self.mode == 'observe' else ''}saved {saved}"
        )
        if not total.checked:
            ask = "" if self.mode == "observe" else _ASK
            return f"{worth}, and no hit was compared with its source yet{ask}."
        late = f", though {total.differed} were late" if total.differed else ""
        advice = f"{worth}, and none of the {total.checked} compared was wrong after 10 s{late}"
        return f"{advice}: switch it on." if self.mode == "observe" else f"{advice}."

    @property
    def _wrong(self) -> str:
        """The types with stale values, the worst first; "" if there is none."""
        found = {name: row.differed_10s for name, row in self.types.items() if row.differed_10s}
        names = sorted(found, key=lambda name: (-found[name], name))
        more = f" and {len(names) - 3} other types" if len(names) > 3 else ""
        return ", ".join(names[:3]) + more


_ASK = (
    "; say Policy(checkable=False) of what a model makes, since a check asks the source again, and "
    "set CASCADA_SELF_CHECK=10 to compare some"
)
_NO_SUMS = ("by_tier", "spent", "saved_by", "times", "stores")
_SUMS = [each.name for each in fields(TypeStatistics) if each.name not in _NO_SUMS]


async def statistics(engine: Engine, tenants: int) -> Statistics:
    """What is known of one cache, and what its tiers say of themselves."""
    usage = await engine.usage()
    said = counted(engine, tenants)
    tiers: dict[str, TierStatistics] = {}
    for name, hits, misses in by_tier(said.total, engine):
        used = usage.get(name)
        held = () if used is None else astuple(used)
        tiers[name] = TierStatistics(hits, misses, used is not None, *held)
    return replace(said, tiers=tiers)


def counted(engine: Engine, tenants: int = 0) -> Statistics:
    """The same without the tiers, which have to be asked: the counts alone, at once.

    tenants: how many get figures of their own.
    """
    mode = engine.options.mode
    named = dict.fromkeys(
        islice(dict.fromkeys(kind.tenant for kind in engine.kinds.all()), tenants)
    )
    of_each: dict[str, dict[str, TypeStatistics]] = {}
    by_both = counts_by(
        engine, lambda kind: (kind.tenant if kind.tenant in named else OTHER, kind.data_type)
    )
    by_type: dict[str, list[TypeStatistics]] = {}
    for (tenant, data_type), row in by_both.items():
        of_each.setdefault(tenant, {})[data_type] = row
        by_type.setdefault(data_type, []).append(row)
    times = _times(engine)
    return Statistics(
        mode,
        {
            name: replace(
                added_up(rows), times=times.get(name, {}), stores=engine.trace.restores.of(name)
            )
            for name, rows in by_type.items()
        },
        tracked=engine.trace.tracked.all(),
        tenants={name: Statistics(mode, types) for name, types in of_each.items()} if named else {},
        trials=_trials(engine.kinds.all()),
    )


def _times(engine: Engine) -> dict[str, dict[str, Times]]:
    """By data type and who answered."""
    found: dict[str, dict[str, Times]] = {}
    for (layer, data_type), latency in engine.trace.latencies.all():
        found.setdefault(data_type, {})[layer] = latency.times
    return found


def _trials(kinds: Sequence[Kind]) -> dict[str, dict[str, TypeStatistics]]:
    """What each policy has done of those types on which another one was tried."""
    found: dict[str, dict[str, list[Kind]]] = {}
    for kind in kinds:
        if kind.variant:
            of_type = found.setdefault(kind.data_type, {name: [] for name in VARIANTS})
            of_type[kind.variant].append(kind)
    return {
        data_type: {variant: added_up(rows) for variant, rows in of_type.items()}
        for data_type, of_type in found.items()
    }


def counts_by(
    engine: Engine, label: Callable[[Kind], L], others: Sequence[Kind] = ()
) -> dict[L, TypeStatistics]:
    """What the engine (and other workers) has counted, added up by a label of each type of each
    tenant."""
    kinds: dict[L, list[Kind]] = {}
    for kind in (*engine.kinds.all(), *others):
        kinds.setdefault(label(kind), []).append(kind)
    return {name: added_up(of_label) for name, of_label in kinds.items()}


def by_tier(row: TypeStatistics, engine: Engine) -> list[tuple[str, int, int]]:
    """The tiers from memory down, with hits, and with misses as each sees them: what one lacks, the
    next is asked for."""
    found: list[tuple[str, int, int]] = []
    missed = row.misses
    for tier in reversed(engine.stack.tiers):
        hits = row.by_tier.get(tier.name, 0)
        found.append((tier.name, hits, missed))
        missed += hits
    return found[::-1]


def added_up(rows: Sequence[Kind | TypeStatistics]) -> TypeStatistics:
    """The counts of all these together."""
    hits: Counter[str] = Counter({MEMORY: 0})
    for row in rows:
        hits.update(row.by_tier)
    sums = {name: sum(getattr(row, name) for row in rows) for name in _SUMS}
    bills = [row.bills for row in rows if isinstance(row, Kind)]
    by_hits, replays, shared, spent_ = map(sum, zip(*bills, strict=True)) if bills else (0,) * 4
    spent = Bill.of(spent_)
    saved = {
        "hits": Bill.of(by_hits - replays),
        "replays": Bill.of(replays),
        "coalesced": Bill.of(shared),
    }
    times: dict[str, Times] = {}
    for row in rows:
        if isinstance(row, TypeStatistics):
            spent += row.spent
            for name, each in row.times.items():
                times[name] = times.get(name, NO_TIMES) + each
            for how, bill in row.saved_by.items():
                saved[how] = saved.get(how, Bill()) + bill
    # A plain dict: `dataclasses.asdict` makes of a Counter another one, which counts its pairs.
    return TypeStatistics(dict(hits), **sums, spent=spent, saved_by=saved, times=times)


def _cells(row: TypeStatistics, costs: Sequence[str]) -> tuple[str, ...]:
    known = row.consistency
    return (
        str(row.reads),
        str(row.hits),
        f"{row.hit_ratio:.3f}",
        f"{row.saved_seconds:.1f}",
        str(row.checked),
        str(row.differed),
        str(row.differed_1s),
        str(row.differed_10s),
        "-" if known is None else f"{known:.4f}",
        *[shown(COSTS[what](bill)) for what in costs for bill in (row.saved, row.spent)],
    )
