"""Metrics pages, as cascada exposes them, read from anywhere and added up."""

from __future__ import annotations

import base64
import http.client
import math
import re
import sys
import urllib.request
from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from cascada.api.statistics import Statistics, TypeStatistics, added_up
from cascada.model.bills.bill import Bill
from cascada.model.entry import MEMORY
from cascada.model.errors import BadInput, MissingExtra
from cascada.telemetry.latency import BOUNDS, Times

try:
    from prometheus_client.parser import text_string_to_metric_families
    from prometheus_client.samples import Sample
except ImportError as error:
    raise MissingExtra(
        "`cascada report` needs prometheus-client; run `pip install cascada[prometheus]`"
    ) from error

TIMEOUT: Final = 10.0
"""Seconds that a server may be silent."""

_URL: Final = re.compile(
    r"(?P<scheme>https?://)(?:(?P<user>[^@/?#]*)@)?"
    r"(?P<page>(?:[^@/?#:\[\]]+|\[[0-9a-f:.]+\])(?::\d*)?(?:/[^@?#]*)?)(?P<query>\?[^@#]*)?",
    re.I | re.S,
)
"""Read strictly: with a `/` or `@` in a password, a part of it stands where the page is looked for.
Not by `urlsplit`, which shows what it cannot read in its errors."""

_BILLED: Final = ("seconds", "tokens_in", "tokens_out", "tokens_cached", "money", "unpriced")

_TIMES: Final = "cache_response_time_seconds"

_READ: Final = {
    **dict.fromkeys(
        (
            "cache_answer_seconds_total",
            "cache_bulky_total",
            "cache_coalesced_total",
            "cache_stored_total",
            "cache_stored_bytes_total",
        )
    ),
    "cache_hit_total": "layer",
    "cache_miss_total": "layer",
    "cache_differed_total": "after",
    "cache_checked_total": None,
    **{f"cache_saved_{part}_total": "by" for part in _BILLED},
    **{f"cache_spent_{part}_total": None for part in _BILLED},
}
"""The counters that are read, and the label of each beside data type and tenant."""

Counts = defaultdict[tuple[str, str | None], float]
"""What a page says of one data type of one tenant, by counter and label."""

Whose = tuple[str, str]
"""A data type, and a tenant: "" where the page has all of them together."""


class Page(NamedTuple):
    """What one page says, of how many workers; those of one `group` all say the same. `times`: of
    the answers of all layers below memory, by data type, if the page tells them apart."""

    group: str
    workers: int
    rows: dict[Whose, TypeStatistics]
    times: dict[str, Times]

    @property
    def reads(self) -> int:
        return sum(row.reads for row in self.rows.values())


def report(sources: Sequence[str]) -> Statistics:
    """What all these pages say, added up. BadInput for the first that says nothing."""
    modes, pages = read(sources)
    types: defaultdict[str, list[TypeStatistics]] = defaultdict(list)
    for page in pages:
        for (data_type, _), row in page.rows.items():
            types[data_type].append(row)
    return Statistics(
        modes.pop() if len(modes) == 1 else "mixed",
        {name: added_up(rows) for name, rows in types.items()},
        workers=sum(page.workers for page in pages),
    )


def read(sources: Sequence[str]) -> tuple[set[str], list[Page]]:
    """The modes of the caches, and their pages. BadInput for the first that says nothing.

    Of several pages of the same workers the latest is there alone: it is the sum of them.
    """
    modes: set[str] = set()
    pages: dict[str, Page] = {}
    for source in sources:
        text = _text(source)
        try:
            families = text_string_to_metric_families(text)
            samples = [sample for family in families for sample in family.samples]
            modes_of_page = {each.labels["mode"] for each in samples if each.name == "cache_mode"}
            page = _page(samples)
        except (ValueError, LookupError) as error:
            raise BadInput(f"{_shown(source)} is no metrics page of cascada's") from error
        if not modes_of_page:
            raise BadInput(
                f"{_shown(source)} has none of cascada's metrics; a service exposes them with "
                "cascada.integrations.prometheus"
            )
        modes |= modes_of_page
        of = page.group or f"alone {len(pages)}"
        if of not in pages or page.reads >= pages[of].reads:
            pages[of] = page
    return modes, [*pages.values()]


def _page(samples: Sequence[Sample]) -> Page:
    told = [each for each in samples if each.name == "cache_workers"]
    group = told[0].labels["group"] if told else ""
    return Page(group, int(told[0].value) if told else 1, _rows(samples), _times(samples))


def _rows(samples: Iterable[Sample]) -> dict[Whose, TypeStatistics]:
    """One page's figures by data type and tenant, whatever other labels they have."""
    found: defaultdict[Whose, Counts] = defaultdict(lambda: defaultdict(float))
    for name, labels, value, *_ in samples:
        if name not in _READ:
            continue
        if not math.isfinite(value):
            raise ValueError(name)
        label = _READ[name]
        # Pages of older versions do not say how it was saved.
        whose = labels["data_type"], labels.get("tenant", "")
        found[whose][name, label and labels.get(label, "")] += value
    return {whose: _row(counts) for whose, counts in found.items()}


def _times(samples: Iterable[Sample]) -> dict[str, Times]:
    """What a histogram of each data type says: its buckets hold all that took less, too."""
    upto: defaultdict[str, dict[float, float]] = defaultdict(lambda: defaultdict(float))
    seconds: defaultdict[str, float] = defaultdict(float)
    for name, labels, value, *_ in samples:
        if not name.startswith(_TIMES) or labels["layer"] == MEMORY or "data_type" not in labels:
            continue
        if not math.isfinite(value):
            raise ValueError(name)
        if name.endswith("_bucket"):
            upto[labels["data_type"]][float(labels["le"])] += value
        elif name.endswith("_sum"):
            seconds[labels["data_type"]] += value
    found = {}
    for data_type, counts in upto.items():
        whole = [int(counts[bound]) for bound in (*BOUNDS, math.inf)]
        each = tuple(count - before for before, count in pairwise((0, *whole)))
        found[data_type] = Times(each, seconds[data_type])
    return found


def _row(counts: Counts) -> TypeStatistics:
    layers = [layer or "" for name, layer in counts if name == "cache_hit_total"]
    hits = {layer: int(counts["cache_hit_total", layer]) for layer in layers}
    # What one layer lacks, the next is asked for: a miss is what the lowest lacks, too.
    missed = [count for (name, _), count in counts.items() if name == "cache_miss_total"]
    differed = [int(counts["cache_differed_total", after]) for after in ("0s", "1s", "10s")]
    return TypeStatistics(
        hits,
        misses=int(min(missed, default=0)),
        checked=int(counts["cache_checked_total", None]),
        differed=differed[0],
        differed_1s=differed[1],
        differed_10s=differed[2],
        answer_seconds=counts["cache_answer_seconds_total", None],
        bulky=int(counts["cache_bulky_total", None]),
        coalesced=int(counts["cache_coalesced_total", None]),
        stored=int(counts["cache_stored_total", None]),
        stored_bytes=int(counts["cache_stored_bytes_total", None]),
        spent=_bill("spent", counts),
        saved_by={"hits": _bill("saved", counts)},
    )


def _bill(what: str, counts: Counts) -> Bill:
    """What was spent, or saved however it was."""
    said: dict[str, Decimal] = {}
    for (name, _), value in counts.items():
        part = name.removeprefix(f"cache_{what}_").removesuffix("_total")
        if part in _BILLED and name.startswith(f"cache_{what}_"):
            # A page has floats, of which the shortest form says what was meant.
            said[part] = said.get(part, Decimal(0)) + Decimal(repr(value))
    tokens_in, tokens_out, cached = [
        int(said[part]) if part in said else None
        for part in ("tokens_in", "tokens_out", "tokens_cached")
    ]
    seconds, unpriced = float(said.get("seconds", 0)), int(said.get("unpriced", 0))
    return Bill(0, seconds, tokens_in, tokens_out, cached, said.get("money"), unpriced)


def _text(source: str) -> str:
    try:
        if source == "-":
            return sys.stdin.read()
        return _fetched(source) if "://" in source else Path(source).read_text("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"{_shown(source)} is no metrics page: it is no text") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise BadInput(f"{_shown(source)} cannot be read: {why}") from error


def _fetched(url: str) -> str:
    parts = _URL.fullmatch(url)
    if parts is None:
        raise BadInput(
            f"{_shown(url)}, and no URL of a page; pass http://HOST:PORT/PATH, and in a password "
            "%2F for /, %3F for ?, %23 for # and %40 for @"
        )
    request = urllib.request.Request(parts["scheme"] + parts["page"] + (parts["query"] or ""))
    if parts["user"] is not None:
        token = base64.b64encode(unquote_to_bytes(parts["user"])).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        body: bytes = answer.read()
    return body.decode()


def _shown(source: str) -> str:
    """A source as it may be shown: no user of a URL, and no query, which may hold a token."""
    if source == "-":
        return "standard input"
    if (parts := _URL.fullmatch(source)) is not None:
        return parts["scheme"] + parts["page"]
    is_path = "://" not in source and not re.search(":.*@", source)
    return source if is_path else "a source is not shown here"
