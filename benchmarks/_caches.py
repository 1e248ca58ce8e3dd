"""The caches that the benchmarks measure, opened in one place.

They have a long deadline, so that a busy machine makes an operation slow and never makes it another
one: a tier that misses its deadline is left out.
"""

from __future__ import annotations

from typing import Any

from cascada import Cache, Limits
from cascada.model.limits import Eviction

PATIENT = 30.0
"""Seconds that a tier may take."""


def cache_of(
    *, l1_bytes: int = Limits.l1_bytes, eviction: Eviction = Limits.eviction, **options: Any
) -> Cache:
    """A cache; `l1_bytes` bounds its memory, and all else is as `Cache` has it."""
    limits = Limits(op_timeout=PATIENT, l1_bytes=l1_bytes, eviction=eviction)
    return Cache(limits=limits, **options)
