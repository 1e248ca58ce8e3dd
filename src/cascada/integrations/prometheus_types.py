"""The metrics of data types: what was read, loaded and stored, what that took, cost and saved.

`prometheus.py` asks for them at each scrape. Nothing here counts, and no label is chosen here: each
row has its own already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from cascada.api.statistics import TypeStatistics, by_tier
from cascada.engine.engine import Engine
from cascada.telemetry.scrapes import Label

Rows = Mapping[Label, TypeStatistics]

COUNTED: Final = {
    "loads": "Values that loaders brought.",
    "load_failures": "Loads that raised.",
    "load_seconds": "Seconds that loads took, added up.",
    "answer_seconds": "Seconds that reads waited which memory did not answer at once, added up.",
    "coalesced": "Reads that were answered by another caller's load.",
    "stale": "Answers past their ttl, served while refreshing or since the source failed.",
    "refused": "Loaded values that a tier refused, because they were invalidated meanwhile.",
    "corrupt": "Stored entries that did not decode, and so were misses.",
    "stored": "Values that loads and sets gave to the layers to store.",
    "stored_bytes": "Their encoded bytes, added up.",
    "bulky": "Stored values over bulky_bytes of their type.",
    "no_room": "Values that a layer had no room for, and others may have.",
    "oversized": "Loaded values over max_value_bytes, which were handed out and not stored.",
    "unstorable": "Loaded values that cannot be stored: their callers alone had them.",
    "prefetch_fetched": "Values that were brought before anybody had asked for them.",
    "prefetch_used": "Of those, what somebody then asked for.",
    "prefetch_wasted": "Of those, what went before anybody asked, or never came.",
    "prefetch_failed": "Of those, what never came.",
    "checked": "Hits that were compared with their source (self-check, or mode observe).",
    "unchecked": "Hits that were to be compared, and whose source did not say.",
}
"""Counters of a data type that are exposed as they are, as `cache_<name>_total`."""


BILLED: Final = {
    "seconds": "Seconds of loading",
    "tokens_in": "Tokens that models were given",
    "tokens_out": "Tokens that models said",
    "tokens_cached": "Tokens that models were given, and had in a cache of their provider's",
    "money": "Money, in the currency of the prices",
    "unpriced": "How many have no known price, and so no part in the money",
}
"""What is told of what was spent, and of what was saved, as `cache_spent_<name>_total`."""

LOOKS: Final = {"0s": "differed", "1s": "differed_1s", "10s": "differed_10s"}
"""Counters of checked hits that differed from their source, by how long after they were served."""


def of_types(rows: Rows, names: Sequence[str], engine: Engine) -> Iterator[Metric]:
    """All metrics of these rows; `names` are those of their labels."""
    yield from _reads(rows, names, engine)
    yield from _counted(rows, names)


def _reads(rows: Rows, names: Sequence[str], engine: Engine) -> Iterator[Metric]:
    labels = ["layer", *names]
    hits = CounterMetricFamily("cache_hit", "Reads that the layer answered.", labels=labels)
    misses = CounterMetricFamily(
        "cache_miss", "Reads that the layer was asked and did not answer.", labels=labels
    )
    for label, row in rows.items():
        for layer, found, missed in by_tier(row, engine):
            hits.add_metric([layer, *label], found)
            misses.add_metric([layer, *label], missed)
    yield hits
    yield misses


def _counted(rows: Rows, names: Sequence[str]) -> Iterator[Metric]:
    """The counts of each data type, and what came of comparing hits with their source."""
    for name, text in COUNTED.items():
        counts = ((label, getattr(row, name)) for label, row in rows.items())
        yield filled(CounterMetricFamily(f"cache_{name}", text, labels=names), counts)
    yield from _costs(rows, names)
    yield filled(
        CounterMetricFamily(
            "cache_differed",
            "Checked hits that differed from their source, still so long after they were served.",
            labels=["after", *names],
        ),
        (
            ((after, *label), getattr(row, name))
            for after, name in LOOKS.items()
            for label, row in rows.items()
        ),
    )
    yield filled(
        GaugeMetricFamily(
            "cache_consistency_ratio",
            "The share of the checked hits that were right within 10 s.",
            labels=names,
        ),
        ((label, row.consistency) for label, row in rows.items() if row.checked),
    )
    yield filled(
        GaugeMetricFamily(
            "cache_prefetch_precision",
            "Of what was brought ahead and was used or went, the share that was used.",
            labels=names,
        ),
        (
            (label, row.prefetch_precision)
            for label, row in rows.items()
            if row.prefetch_precision is not None
        ),
    )


def _costs(rows: Rows, names: Sequence[str]) -> Iterator[Metric]:
    """What sources took and cost, and what reads have saved of that, by how."""
    spent = [(label, row.spent) for label, row in rows.items()]
    saved = [
        ((how, *label), bill) for label, row in rows.items() for how, bill in row.saved_by.items()
    ]
    for what, whose, labels, bills in (
        ("spent", "of what sources were asked for", names, spent),
        ("saved", "of reads that were answered without", ["by", *names], saved),
    ):
        for part, text in BILLED.items():
            counter = CounterMetricFamily(
                f"cache_{what}_{part}", f"{text}: {whose}.", labels=labels
            )
            told = ((label, getattr(bill, part)) for label, bill in bills)
            yield filled(counter, ((label, each) for label, each in told if each is not None))


def filled(
    family: CounterMetricFamily | GaugeMetricFamily, samples: Iterable[tuple[Label, Any]]
) -> Metric:
    """A family with one sample for each set of labels."""
    for label, value in samples:
        family.add_metric(label, value)
    return family
