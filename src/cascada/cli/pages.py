"""Metrics pages, as cascada exposes them, read from anywhere and made into one report."""

from __future__ import annotations

import base64
import http.client
import math
import re
import sys
import urllib.request
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote_to_bytes

from cascada.api.statistics import Statistics, TypeStatistics
from cascada.model.errors import BadInput, MissingExtra

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

_FIELDS: Final = {
    "cache_hit_total": "hits",
    "cache_saved_seconds_total": "saved_seconds",
    "cache_checked_total": "checked",
}
_DIFFERED: Final = {"0s": "differed", "1s": "differed_1s", "10s": "differed_10s"}
_READ: Final = {*_FIELDS, "cache_miss_total", "cache_differed_total"}


def report(sources: Sequence[str]) -> Statistics:
    """What all these pages say, added up. BadInput for the first that says nothing."""
    modes: set[str] = set()
    types: defaultdict[str, Counts] = defaultdict(Counts)
    for source in sources:
        text = _text(source)
        try:
            families = text_string_to_metric_families(text)
            samples = [sample for family in families for sample in family.samples]
            modes_of_page = {each.labels["mode"] for each in samples if each.name == "cache_mode"}
            rows = _by_type(samples)
        except (ValueError, LookupError) as error:
            raise BadInput(f"{_shown(source)} is no metrics page of cascada's") from error
        if not modes_of_page:
            raise BadInput(
                f"{_shown(source)} has none of cascada's metrics; a service exposes them with "
                "cascada.integrations.prometheus"
            )
        modes |= modes_of_page
        for name, counts in rows.items():
            types[name].add(counts)
    return Statistics(
        modes.pop() if len(modes) == 1 else "mixed",
        {name: counts.row() for name, counts in types.items()},
    )


class Counts(defaultdict[str, float]):
    """The figures of one data type, by the field of `TypeStatistics` that they come to."""

    def __init__(self) -> None:
        super().__init__(float)

    def add(self, others: Counts) -> None:
        for field, value in others.items():
            self[field] += value

    def row(self) -> TypeStatistics:
        hits, saved = int(self.pop("hits", 0.0)), self.pop("saved_seconds", 0.0)
        return TypeStatistics(
            {"all": hits},
            timed_hits=hits,  # what they saved, the page says
            timed_seconds=saved,
            **{field: int(value) for field, value in self.items()},
        )


def _by_type(samples: Iterable[Sample]) -> dict[str, Counts]:
    """One page's figures by data type, whatever other labels they have."""
    types: defaultdict[str, Counts] = defaultdict(Counts)
    missed: defaultdict[str, Counts] = defaultdict(Counts)
    for name, labels, value, *_ in samples:
        if name not in _READ:
            continue
        if not math.isfinite(value):
            raise ValueError(name)
        if name == "cache_miss_total":
            missed[labels["data_type"]][labels["layer"]] += value
        elif name == "cache_differed_total":
            types[labels["data_type"]][_DIFFERED[labels["after"]]] += value
        else:
            types[labels["data_type"]][_FIELDS[name]] += value
    for data_type, layers in missed.items():
        # What one layer lacks, the next is asked for: a miss is what the lowest lacks, too.
        types[data_type]["misses"] = min(layers.values())
    return types


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
